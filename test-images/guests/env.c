/* Prints its arguments and its environment, one a line. */
#include <stdio.h>

extern char **environ;

static void print(const char *kind, const char *text)
{
	printf("%s=", kind);
	for (; *text; text++) {
		unsigned char byte = *text;
		if (byte < ' ' || byte == '\\' || byte == 0x7f)
			printf("\\x%02x", byte);
		else
			putchar(byte);
	}
	putchar('\n');
}

int main(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		print("arg", argv[i]);
	for (char **variable = environ; *variable; variable++)
		print("env", *variable);
	return 0;
}
