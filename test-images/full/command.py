"""A command in Python: what its first argument says, with Python's own library."""

import hashlib
import json
import os
import random
import sys
import time

from componentize_py_types import Err
from wit_world import exports


def read(path):
    with open(path) as file:
        sys.stdout.write(file.read())


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def process(*_words):
    print(json.dumps({"args": sys.argv, "env": dict(os.environ)}))


def count():
    text = sys.stdin.read()
    print(f"{len(text)} characters, {len(text.splitlines())} lines")


def clock():
    before = time.monotonic()
    time.sleep(0.02)
    print(json.dumps({"slept": time.monotonic() - before, "now": time.time()}))
    print(len({random.SystemRandom().random() for _ in range(8)}))


def idle():
    print("ready", flush=True)
    time.sleep(600)


VERBS = {
    "clock": clock,
    "count": count,
    "digest": lambda text: print(hashlib.sha256(text.encode()).hexdigest()),
    "hello": lambda: print("hello from Python"),
    "idle": idle,
    "list": lambda path: print(json.dumps(sorted(os.listdir(path)))),
    "process": process,
    "read": read,
    "write": write,
}


class Run(exports.Run):
    def run(self):
        verb, *words = sys.argv[1:] or ["hello"]
        try:
            VERBS[verb](*words)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise Err(None)
