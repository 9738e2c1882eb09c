"""The server of `demo`: local, without telemetry, and with nothing from other hosts."""

import os
import socket
import tempfile
from pathlib import Path

from commands.demo import HOST
from commands.demo.training import Training

OFFLINE = {  # what Gradio and its hub client read when they are imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
# With this policy the browser loads nothing from another host.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)


def serve(runs: Path, trust: bool, listener: socket.socket) -> None:
    """Serves the page on an open port until a signal ends it."""
    port = listener.getsockname()[1]
    training = Training(runs)
    with tempfile.TemporaryDirectory(prefix="ladder-demo-") as folder:  # pictures of the page
        os.environ.update(OFFLINE, GRADIO_TEMP_DIR=folder)
        import uvicorn

        app = application(runs, trust, training, port)
        settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        print(
            f"Open http://{HOST}:{port} in a browser of this machine. Ctrl-C stops it.", flush=True
        )
        try:
            uvicorn.Server(settings).run(sockets=[listener])
        finally:
            training.stop()


def application(runs: Path, trust: bool, training: Training, port: int):  # type: ignore[no-untyped-def]  # FastAPI's is optional
    """Builds the page as a web application, which answers only to this machine's names."""
    import gradio as gr
    from fastapi import FastAPI, Request, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from commands.demo.page import CSS, build, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Otherwise a foreign page in the same browser could reach this one under its own host name.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    @app.middleware("http")
    async def add_policy(request: Request, call_next):  # type: ignore[no-untyped-def]
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return gr.mount_gradio_app(
        app, build(runs, trust, training), "/", HOST, port, footer_links=[], run_history=False,
        ssr_mode=False, mcp_server=False, enable_monitoring=False, theme=theme(), css=CSS,
    )  # fmt: skip
