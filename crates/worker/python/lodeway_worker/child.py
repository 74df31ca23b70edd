"""One model in a process of its own: loads it, then answers calls one after the other until the host goes away."""

import inspect
import os
import sys
import time
import traceback

from . import values
from .wire import TooLarge, Wire

_MAX_MESSAGE = 8 * 1024
# Paths of this process that do not go out, and what stands for them.
_HIDDEN = []
# Loaders of models that take one conversation a call; given a table, they look at its first row alone.
_CHAT_LOADERS = (
    "mlflow.pyfunc.loaders.chat_model",
    "mlflow.pyfunc.loaders.chat_agent",
    "mlflow.pyfunc.loaders.responses_agent",
)
_CALLER_CODES = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "CUSTOMER_UNAUTHORIZED", "INVALID_STATE")


class _Recorded:
    """The model as MLflow's scoring code sees it, with what its own `predict` raised."""

    def __init__(self, model):
        self._model = model
        self.metadata = model.metadata
        self.raised = None
        self.was_asked = False
        self.takes_params = "params" in inspect.signature(model.predict).parameters
        self._is_chat = getattr(model, "loader_module", None) in _CHAT_LOADERS

    def predict(self, data, params=None):
        self.was_asked = True
        try:
            if self._is_chat:
                _one_row(data, True, "the model takes one conversation a call")
            if self.takes_params:
                return self._model.predict(data, params=params)
            return self._model.predict(data)
        except BaseException as error:
            self.raised = error
            raise


class _Refused(Exception):
    """An answer of MLflow's scoring code other than 200."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def main(sock, folder, max_body_bytes):
    """Serves the model in `folder` over `sock`."""
    wire = Wire(sock, max_body_bytes)
    try:
        started = time.monotonic()
        model = Model(folder)
        facts = model.facts()
        facts["load_ms"] = int((time.monotonic() - started) * 1000)
    except BaseException as error:  # a model may call sys.exit
        traceback.print_exc()
        sys.stderr.flush()
        wire.send({"kind": "failed", "message": _text(error)})
        return
    _HIDDEN.extend(((folder, "<model>"), (os.getcwd(), "<scratch>")))
    wire.send({"kind": "ready", **facts})
    while True:
        frame = wire.receive()
        if frame is None:
            return
        header, body = frame
        kind = header["kind"]
        if kind == "ping":
            wire.send({"kind": "pong", "id": header["id"]})
        elif kind == "predict":
            _answer(wire, header, lambda: model.predict(header, body))
        elif kind == "stream":
            _stream(wire, header, lambda: model.stream(header, body))
        # a cancellation that came after the end of its stream says nothing any more


def _answer(wire, header, work):
    """Sends what `work` gives as the answer of the call, or why there is none."""
    try:
        answer, segments = work()
        wire.send({"kind": "answer", "id": header["id"], **answer}, segments)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        wire.send({"kind": "error", "id": header["id"], **_fault(error, header)})


def _stream(wire, header, work):
    """Sends each answer of a stream, until it ends, fails, or the host does not want more."""
    call = header["id"]
    try:
        for answer, segments in work():
            wire.send({"kind": "item", "id": call, **answer}, segments)
            if wire.waiting():
                frame = wire.receive()
                if frame is None or frame[0]["kind"] == "cancel":
                    break
        wire.send({"kind": "end", "id": call})
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        wire.send({"kind": "error", "id": call, **_fault(error, header)})


class Model:
    """A loaded model and MLflow's own functions around it."""

    def __init__(self, folder):
        import mlflow
        import mlflow.pyfunc
        from mlflow.pyfunc import scoring_server

        # models look at this to know that they serve
        os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
        self._scoring = scoring_server
        self._mlflow = mlflow
        self._model = mlflow.pyfunc.load_model(folder)
        self._recorded = _Recorded(self._model)
        self._schema = self._model.metadata.get_input_schema()
        self._takes_columns = self._schema is not None and not self._schema.is_tensor_spec()
        self._outputs = values.Outputs(
            self._model.metadata.get_output_schema(), scoring_server.unwrapped_predictions_to_json
        )

    def facts(self):
        """What the host wants to know of the model."""
        return {
            "mlflow": self._mlflow.__version__,
            "streams": getattr(self._model, "_predict_stream_fn", None) is not None,
            "flavors": [str(name) for name in (self._model.metadata.flavors or {})],
        }

    def predict(self, header, body):
        """One answer."""
        if header["form"] == "document":
            return self._document(header, body)
        data = self._input(header, body)
        answer = self._recorded.predict(data, header.get("params") or None)
        # who sent tensors knows outputs by their names in the signature; who sent a table gets the answer as MLflow has it
        by_column = header["form"] == "tensors" and self._takes_columns
        return self._packed(answer, values.answer_of(answer, self._outputs, by_column))

    def _document(self, header, body):
        self._recorded.raised, self._recorded.was_asked = None, False
        try:
            result = self._scoring.invocations(
                _body(header, body), header["content_type"], self._recorded, self._schema
            )
        except BaseException as error:
            # the scoring code wraps what the model raised and so makes the caller guilty of it
            raised, self._recorded.raised = self._recorded.raised, None
            if raised is not None and (isinstance(raised, values.BadInput) or not _of_caller(raised)):
                raise raised from None
            if not self._recorded.was_asked and isinstance(error, Exception) and not isinstance(error, MemoryError):
                raise _unreadable(error) from error
            raise error
        if result.status != 200:
            raise _Refused(result.status, result.response)
        return _document(result.mimetype, values.strict_json(result.response))

    def stream(self, header, body):
        """The answers of `predict_stream`, one by one."""
        write = self._scoring.predictions_to_json
        if header["form"] == "document":
            if header["content_type"].partition(";")[0].strip() != "application/json":
                raise _Refused(415, "a stream takes application/json")
            try:
                parsed = self._scoring._parse_json_data(_body(header, body), self._model.metadata, self._schema)
            except Exception as error:
                raise _unreadable(error) from error
            _one_row(parsed.data, self._takes_columns, "a stream answers one row")
            if parsed.is_unified_llm_input:
                write = self._scoring.unwrapped_predictions_to_json
            data, params = parsed.data, parsed.params
        else:
            data, params = self._input(header, body), header.get("params") or None
            _one_row(data, self._takes_columns, "a stream answers one row")
        for item in self._model.predict_stream(data, params=params):
            if header["form"] == "document":
                yield _document("application/json", values.json_text(write, item))
            else:
                yield self._packed(item, values.chunk_of(item, self._outputs))

    def _input(self, header, body):
        tensors = values.received(header, body)
        if header["form"] == "frame":
            return values.frame_of(tensors, self._schema)
        return values.input_of(tensors, self._schema)

    def _packed(self, answer, packed):
        if packed is None:
            text = values.json_text(self._scoring.predictions_to_json, answer)
            return _document("application/json", text)
        form, tensors, segments = packed
        return {"form": form, "tensors": tensors}, segments


def _one_row(data, takes_columns, why):
    """Refuses a table of several rows, and a list of them where the signature has columns."""
    is_records = takes_columns and isinstance(data, list) and all(isinstance(row, dict) for row in data)
    rows = len(data) if hasattr(data, "iloc") or is_records else 1
    if rows != 1:
        raise values.BadInput(f"{why}, and the input has {rows} rows")


def _body(header, body):
    # what is beyond is padding
    return bytes(memoryview(body)[: header["bytes"]])


def _document(content_type, body):
    return {"form": "document", "content_type": content_type, "bytes": len(body)}, [body]


def _unreadable(error):
    """What stopped a body from being read, as the caller's fault; the libraries that read it have errors of their own."""
    if _of_caller(error):
        return error
    return values.BadInput(f"the body does not read as its content type says: {_text(error)}")


def _of_caller(error):
    return isinstance(error, values.BadInput) or (
        type(error).__module__.startswith("mlflow.") and getattr(error, "error_code", None) in _CALLER_CODES
    )


def _fault(error, header):
    """An error as the host reads it; the traceback goes to the log if it is not the caller's, under the call's name."""
    if isinstance(error, _Refused):
        return {"fault": "caller", "code": "UNSUPPORTED_MEDIA_TYPE", "message": str(error)[:_MAX_MESSAGE]}
    if _of_caller(error):
        code = getattr(error, "error_code", "INVALID_PARAMETER_VALUE")
        message = getattr(error, "message", None) or str(error)
        for path, name in _HIDDEN:
            message = message.replace(path, name)
        return {"fault": "caller", "code": code, "message": _clipped(message)}
    if header.get("trace"):
        print("call", header["trace"], "failed:", file=sys.stderr)
    traceback.print_exception(type(error), error, error.__traceback__)
    sys.stderr.flush()
    if isinstance(error, TooLarge):
        return {"fault": "size", "message": str(error)}
    return {"fault": "model", "message": _text(error)}


def _text(error):
    try:
        said = str(error)
    except Exception:  # the exception is the model's own
        said = ""
    # where a model lies on this machine is nobody's business
    for path, name in _HIDDEN:
        said = said.replace(path, name)
    return _clipped(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _clipped(text):
    """A text within the bound, mostly its end: MLflow begins with the whole input and ends with the cause."""
    if len(text) <= _MAX_MESSAGE:
        return text
    start = _MAX_MESSAGE // 4
    return text[:start] + " … " + text[start - _MAX_MESSAGE :]
