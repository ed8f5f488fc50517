// A handler of HTTP requests in JavaScript.

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const { pathname } = new URL(request.url);
  switch (pathname) {
    case "/":
      return new Response("hello from JavaScript\n");
    case "/echo":
      return new Response(await request.text(), { headers: { "x-method": request.method } });
    case "/json":
      return Response.json({ header: request.headers.get("x-sent"), sum: [1, 2, 3].reduce((a, b) => a + b) });
    default:
      return new Response(`nothing at ${pathname}\n`, { status: 404 });
  }
}
