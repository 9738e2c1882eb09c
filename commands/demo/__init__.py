"""`python cli.py demo`: a page to play with trained models, in a browser on this machine.

Imports nothing heavy, so mistakes are answered at once.
"""

import importlib.util
import signal
import socket
from argparse import ArgumentTypeError
from contextlib import suppress
from pathlib import Path

from commands import COMMANDS
from commands.functions import LightParser
from runtime.errors import UserError

HOST = "127.0.0.1"  # nobody else on the network can see the page
RUNS, PORT = Path("runs"), 7860


def demo(args: list[str]) -> None:
    """Serves a page with classifiers, generators and logic gates until Ctrl-C."""
    parser = LightParser("cli.py demo", description=COMMANDS["demo"].summary, allow_abbrev=False)
    add = parser.add_argument
    add("--runs", type=Path, metavar="DIR", help=f"folder of runs (default: {RUNS})")
    add("--port", type=_port, default=PORT, metavar="N", help=f"port (default: {PORT})")
    text = "import the classes that checkpoints name, whoever wrote them (default: false)"
    add("--trust", choices=("true", "false"), default="false", help=text)
    options = parser.parse_args(args)
    if options.runs is not None and not options.runs.is_dir():
        raise UserError(
            f"--runs {options.runs}: there is no such folder. Give the folder of your runs, or "
            f"leave it out for {RUNS}/."
        )
    require_gradio()
    listener = listen(options.port)
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
        print("Starting ...", flush=True)
        with suppress(KeyboardInterrupt):  # or the server notices it first, and returns
            from commands.demo.server import serve

            serve(options.runs or RUNS, options.trust == "true", listener)
        print("\nStopped.")
    finally:
        listener.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def require_gradio() -> None:
    if importlib.util.find_spec("gradio") is None:
        raise UserError('demo needs Gradio: pip install -e ".[demo]"')


def listen(port: int) -> socket.socket:
    """Opens a port of this machine, which no other machine can reach."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        other = port + 1 if port < 65535 else PORT
        raise UserError(
            f"--port {port} cannot be opened ({error.strerror}). Another page may use it: choose "
            f"another port, such as --port {other}"
        ) from error
    return listener


def _port(text: str) -> int:
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise ArgumentTypeError(f"'{text}' is not a number from 1024 to 65535")
    return int(text)
