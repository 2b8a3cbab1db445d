"""`asr serve`: run a local server with OpenAI's transcription API and a web page."""

from __future__ import annotations

import argparse
import functools
import ipaddress
import os
import socket
from typing import Annotated, Any, cast

import torch

import asr
from asr.cli.device import add_device_argument, add_dtype_argument, check_device
from asr.cli.exits import add_exit_arguments
from asr.cli.options import add_plugin_argument, audio_length, number_in
from asr.cli.recordings import add_chunk_arguments, add_model_argument
from asr.cli.run_summary import log
from asr.cli.search import add_search_arguments, search_config, search_of
from asr.decode.fusion import FusedSearch
from asr.decode.recogniser import load_recogniser
from asr.decode.search import HOTWORD_WEIGHT, Search, with_hotwords
from asr.decode.transcribe import Transcriber
from asr.errors import InputError, check_installed
from asr.interop.hub import local_model
from asr.lm.hotwords import Hotword
from asr.ranges import Range

API_KEY = "ASR_API_KEY"
_NEEDED = ("fastapi", "uvicorn", "python_multipart", "websockets")
_KEPT_HOTWORDS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: model, address, limits."""
    add_plugin_argument(parser)
    add_model_argument(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 lets other machines in (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=functools.partial(_number, hint=Annotated[int, Range(0, 65_535)]),
        default=8000, metavar="N", help="port to listen on; 0: a free one (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--language", default="", metavar="CODE", help="language in verbose_json, such as en"
    )
    parser.add_argument(
        "--max-size", type=functools.partial(_number, hint=Annotated[int, Range(1, 65_536)]),
        default=1024, metavar="MIB", help="largest request (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-length",
        type=audio_length,
        default=4 * 3600.0,
        metavar="S",
        help="longest recording (default: %(default)g)",
    )
    parser.add_argument(
        "--max-upload",
        type=audio_length,
        default=300.0,
        metavar="S",
        help="longest time to receive a request (default: %(default)g)",
    )
    parser.add_argument(
        "--queue", type=functools.partial(_number, hint=Annotated[int, Range(1, 100_000)]),
        default=256, metavar="N",
        help="most waiting recordings; more are refused with status 429 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-streams", type=functools.partial(_number, hint=Annotated[int, Range(1, 100_000)]),
        default=64, metavar="N", help="live streams at once (default: %(default)s)",
    )  # fmt: skip
    add_device_argument(parser)
    add_dtype_argument(parser, default="auto")
    add_exit_arguments(parser)
    add_chunk_arguments(parser)
    add_search_arguments(parser)


def _number(text: str, *, hint: Any) -> Any:
    try:
        return number_in(text, hint)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then finish accepted requests."""
    check_device(args.device)
    check_installed("asr serve", _NEEDED, extra="serve")
    from asr.serve.app import Settings, make_app
    from asr.serve.server import listen, serve

    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    transcribers = transcribers_of(args)
    key = os.environ.get(API_KEY, "")
    if not key and not is_loopback(args.host):
        log(f"warning: anybody who reaches {args.host} may use this server; set {API_KEY}")
    app = make_app(
        transcribers,
        Settings(
            model_name=str(args.model),
            version=asr.__version__,
            language=args.language,
            api_key=key,
            max_num_bytes=args.max_size << 20,
            max_duration_s=args.max_length,
            max_upload_s=args.max_upload,
            max_waiting=args.queue,
            max_streams=args.max_streams,
        ),
    )
    server = listen(app, args.host, args.port)
    log(f"serving {args.model} at {server.address}")
    serve(server)
    return 0


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches ``host``."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return False
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)


def transcribers_of(args: argparse.Namespace) -> Any:
    """Return a function from hotwords to their transcriber; the model is loaded once."""
    recogniser = load_recogniser(
        local_model(args.model),
        args.device,
        args.dtype,
        exit=args.exit,
        exit_entropy=args.exit_entropy,
    )
    decoder = search_of(args, search_config(args, recogniser.config), recogniser)

    @functools.lru_cache(maxsize=_KEPT_HOTWORDS)
    def transcriber(hotwords: tuple[str, ...]) -> Transcriber:
        search = decoder
        if hotwords:
            if not isinstance(decoder, FusedSearch):
                raise InputError(
                    "keywords: this server searches without a beam; start it with --beam 10"
                )
            phrases = [Hotword(one) for one in hotwords]
            weight = HOTWORD_WEIGHT if args.hotword_weight is None else args.hotword_weight
            search = cast(Search, with_hotwords(decoder, phrases, recogniser, weight))
        return Transcriber(
            recogniser,
            search,
            chunk_s=args.chunk,
            overlap_s=args.overlap,
            vad=args.vad,
            silence_db=args.silence,
            strict=False,
        )

    transcriber(())
    return transcriber
