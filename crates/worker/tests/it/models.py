"""Makes the models of the tests, each in a folder below the one given."""

import json
import sys
import warnings
from pathlib import Path

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.llm import ChatCompletionChunk, ChatCompletionResponse
from mlflow.types.schema import AnyType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

warnings.filterwarnings("ignore")
ROOT = Path(sys.argv[1])


def iris():
    frame, labels = load_iris(return_X_y=True, as_frame=True)
    model = LogisticRegression(max_iter=500).fit(frame, labels)
    signature = infer_signature(frame, model.predict(frame))
    for name, how in (("iris", "predict"), ("iris-proba", "predict_proba")):
        mlflow.sklearn.save_model(
            model, ROOT / name, signature=signature, serialization_format="cloudpickle", pyfunc_predict_fn=how
        )


class Misbehaving(mlflow.pyfunc.PythonModel):
    """Does what its one parameter says."""

    def load_context(self, context):
        self.kept = []

    def predict(self, context, model_input, params=None):
        import os
        import signal
        import sys
        import time

        what, *words = str(model_input["do"].iloc[0]).split()
        if what == "echo":
            return [" ".join(words)]
        if what == "exit":
            os._exit(int(words[0]))
        if what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if what == "hang":
            # what holds the interpreter, as a stuck extension would
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            while True:
                pass
        if what == "sleep":
            time.sleep(float(words[0]))
            return [what]
        if what == "leak":
            self.kept.append(bytes(range(256)) * (int(words[0]) << 12))
            return [what]
        if what == "raise":
            raise ValueError(" ".join(words))
        if what == "leave":
            sys.exit(3)
        if what == "print":
            for number in range(int(words[0])):
                print(f"line {number} " + "x" * 5000)
            return [what]
        if what == "child":
            import subprocess

            child = subprocess.Popen(["sleep", "1000"])
            return [str(child.pid)]
        if what == "stray":
            import subprocess

            child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
            return [str(child.pid)]
        if what == "leave-socket":
            # a child that holds all that its parent had open
            if os.fork() == 0:
                os.setsid()
                time.sleep(1000)
                os._exit(0)
            os._exit(4)
        if what == "pid":
            return [str(os.getpid())]
        if what == "garbage":
            import socket

            for fd in range(3, 64):
                try:
                    socket.socket(fileno=os.dup(fd)).sendall(b"HTTP/1.1 200 OK\r\n\r\nhello, who is there?")
                except OSError:
                    pass
            return [what]
        if what == "env":
            return [" ".join(sorted(os.environ))]
        raise KeyError(what)


class Hostile(mlflow.pyfunc.PythonModel):
    """Tries what a model must not; answers how each attempt ended."""

    def predict(self, context, model_input, params=None):
        return [attempt(str(what)) for what in model_input["do"]]


def attempt(what):
    import ctypes
    import errno
    import os
    import signal
    import socket

    kind, _, target = what.partition(" ")
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result):
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")

    try:
        if kind == "read":
            open(target, "rb").read(1)
        elif kind == "list":
            os.listdir(target)
        elif kind == "write":
            open(target, "a").write("x")
        elif kind == "chmod":
            before = os.stat(target).st_mode
            os.chmod(target, 0o777)
            if os.stat(target).st_mode == before:
                return "no effect"
        elif kind == "connect":
            socket.create_connection(("127.0.0.1", int(target)), timeout=5).close()
        elif kind == "unix":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(target)
        elif kind == "netlink":
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
        elif kind == "signal":
            os.kill(int(target), 0)
        elif kind == "ptrace":
            call(libc.ptrace(16, int(target), 0, 0))
        elif kind == "unshare":
            call(libc.unshare(0x10000000))
        elif kind == "mount":
            call(libc.mount(b"none", b"/mnt", b"tmpfs", 0, None))
        elif kind == "syscall":
            call(libc.syscall(int(target), 0, 0, 0, 0))
        elif kind == "survive":
            call(libc.prctl(1, 0, 0, 0, 0))
        elif kind == "setuid":
            os.setuid(65534)
        elif kind == "tmp":
            import tempfile

            with tempfile.NamedTemporaryFile("w") as file:
                file.write("x")
        else:
            return "unknown"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "done"


class Payload:
    """Runs when it is unpickled, as hostile models do."""

    def __reduce__(self):
        return (run_on_load, ())


def run_on_load():
    raise SystemExit("stolen: " + attempt("read /etc/shadow") + " " + attempt("connect 22"))


class Answers(mlflow.pyfunc.PythonModel):
    """Answers in the form that its params name."""

    def predict(self, context, model_input, params=None):
        form = (params or {}).get("form", "echo")
        if form == "kind":
            return [f"{type(model_input).__name__} {getattr(model_input, 'dtype', '')}"]
        return answers()[form] if form != "echo" else model_input

    def predict_stream(self, context, model_input, params=None):
        for number in range(int((params or {}).get("count", 3))):
            if number == 1000:
                raise ValueError("too many")
            yield np.full(int((params or {}).get("size", 1)), number, dtype="int64")


class Chat(mlflow.pyfunc.ChatModel):
    """Says what it was told; a stream word by word."""

    def predict(self, context, messages, params=None):
        message = {"role": "assistant", "content": f"{messages[-1].content} {params.temperature}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        if messages[-1].content == "bare":
            # id and model stay what they are unless somebody sets them
            return ChatCompletionResponse.from_dict({"created": 7, "choices": [choice]})
        return ChatCompletionResponse.from_dict({"id": "1", "model": "m", "created": 7, "choices": [choice]})

    def predict_stream(self, context, messages, params=None):
        for word in messages[-1].content.split():
            choice = {"index": 0, "delta": {"role": "assistant", "content": word}}
            yield ChatCompletionChunk.from_dict({"id": "1", "model": "m", "created": 7, "choices": [choice]})


class Nested(mlflow.pyfunc.PythonModel):
    """Answers lists and objects in the form that its params name."""

    def predict(self, context, model_input, params=None):
        form = (params or {}).get("form", "records")
        if form == "records":
            return [{"n": len(of), "last": of[-1]} for of in model_input["messages"]]
        if form == "gaps":
            return [{"n": 1}, {"n": 2, "last": None}]
        if form == "gap":
            return [{"n": 1, "last": {}}, {"n": 2}]
        if form == "frame":
            return pd.DataFrame({"n": [1, 2], "last": [{"a": np.array([1.5])}, None]})
        if form == "beyond":
            return [{"n": 1, "last": {}, "beyond": True}]
        if form == "of-another-type":
            return {"n": 0.5, "last": {}}
        return {"seen": str(model_input.to_dict(orient="list"))}


class Text(str):
    """A text of a class of its own, such as what parsers of LangChain give."""


class Said(mlflow.pyfunc.PythonModel):
    """Answers a text a row; a stream word by word."""

    def predict(self, context, model_input, params=None):
        return [Text(of[-1]["content"]) for of in model_input["messages"]]

    def predict_stream(self, context, model_input, params=None):
        yield from map(Text, model_input["messages"][-1]["content"].split())


class Moments(mlflow.pyfunc.PythonModel):
    """Answers two rows of moments, bytes and floats in the form that its params name."""

    def predict(self, context, model_input, params=None):
        times = pd.to_datetime(["2024-01-01T10:00:00.25", None])
        frame = pd.DataFrame({"t": times, "b": [b"\x00\xff", b""], "f": [-np.inf, np.inf]})
        form = (params or {}).get("form")
        if form == "days":
            return frame.assign(t=np.array([times[0].date(), None], dtype=object))
        return frame.to_dict(orient="records") if form == "records" else frame


class Times(mlflow.pyfunc.PythonModel):
    """Answers the times that it is given."""

    def predict(self, context, model_input, params=None):
        assert model_input["t"].dtype == "datetime64[ns]", model_input["t"].dtype
        return [str(time) for time in model_input["t"]]


def answers():
    import scipy.sparse

    masked = np.ma.masked_array
    floats = np.array([[0.1, np.nan, -0.0], [np.inf, 1e-320, 3.0]])
    return {
        "float64": floats,
        "float32": floats.astype("float32"),
        "float16": np.array([0.1, 65504], dtype="float16"),
        "fortran": np.asfortranarray(floats),
        "big-endian": floats.astype(">f8"),
        "int8": np.array([-128, 127], dtype="int8"),
        "uint64": np.array([2**64 - 1], dtype="uint64"),
        "bool": np.array([True, False]),
        "scalar": np.float64(0.1),
        "empty": np.zeros((0, 3), dtype="float32"),
        "texts": np.array(["a", "größer"]),
        "objects": np.array(["a", None], dtype=object),
        "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
        "series": pd.Series([1, 2], name="label"),
        "frame": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [0.5, np.nan], "d": [True, False]}),
        "nullable": pd.DataFrame({"a": pd.array([1, None], dtype="Int32")}),
        "list": [0.1, 0.2],
        "list-int": [[1, 2], [3, 4]],
        "list-text": ["a", "b"],
        "list-mixed": [1, 2.5, "a", None],
        "list-ragged": [[1], [2, 3]],
        "records": [{"a": 1, "b": [1.5]}, {"a": 2}],
        "dict": {"logits": floats, "ids": np.array([1, 2])},
        "dict-one": {"y": np.array([1.0, 2.0])},
        "list-own-text": [Text("a"), Text("b"), "c"],
        "dict-plain": {"text": "hello", "score": 0.25},
        "text": "hello",
        "frame-times": pd.DataFrame({"t": pd.to_datetime(["2024-01-01"] * 2), "x": [0.5, np.nan]}),
        "sparse": scipy.sparse.csr_matrix(np.array([[0.0, 0.1], [0.0, 0.0]])),
        "none": None,
        "masked": masked([[1.5, 2.5], [0.5, 3.5]], [[False, True], [False, False]]),
        "masked-int": masked([1, 2], [False, True]),
        "masked-text": masked(["a", "b"], [False, True]),
        "masked-nothing": masked([1, 2]),
        "masked-one": np.ma.masked,
        "dict-masked": {"y": masked([1.5, 2.5], [False, True])},
        "texts-any-width": np.array(["a", "größer"], dtype=np.dtypes.StringDType()),
        **{f"frame-{name}": pd.DataFrame({"x": column}) for name, column in columns().items()},
        **{f"series-{name}": pd.Series(column, name="x") for name, column in columns().items()},
        "list-moments": [pd.Timestamp("2024-01-01"), pd.NaT],
        "records-category": [{"x": cell} for cell in pd.Categorical(["a", None])],
    }


def columns():
    """Columns with a missing value, of the types that pandas has beside those of numpy."""
    typed = {
        "boolean": ([True, None], "boolean"),
        "whole": ([2**60 + 1, None], "Int64"),
        "float": ([0.1, None], "Float32"),
        "text": (["a", None], "string"),
        "arrow-boolean": ([True, None], "bool[pyarrow]"),
        "arrow-whole": ([2**60 + 1, None], "int64[pyarrow]"),
        "arrow-float": ([0.1, None], "double[pyarrow]"),
        "arrow-text": (["a", None], "string[pyarrow]"),
        "arrow-moment": ([pd.Timestamp("2024-01-01T10:00:00.25"), None], "timestamp[ns][pyarrow]"),
        "category": (["a", None], "category"),
        "numbered-category": ([1, None], "category"),
        "moment": ([pd.Timestamp("2024-01-01T10:00:00.25"), None], "datetime64[ns]"),
        "zoned-moment": ([pd.Timestamp("2024-01-01", tz="Europe/Berlin"), None], "datetime64[ns, Europe/Berlin]"),
    }
    return {name: pd.array(cells, dtype=dtype) for name, (cells, dtype) in typed.items()}


DOCUMENTS = [
    ("application/json", '{"dataframe_split": {"columns": %s, "data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3, 5.2, 2.3]]}}'),
    ("application/json", '{"dataframe_split": {"columns": %s, "data": [[null, 3.5, 1.4, 0.2]]}}'),
    ("application/json; charset=utf-8", '{"inputs": {"sepal length (cm)": [5.1]}}'),
    ("application/json", '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'),
    ("application/json", '{"dataframe_split": {"columns": %s, "data": [["a", 3.5, 1.4, 0.2]]}}'),
    ("application/json", "[1, 2]"),
    ("application/json", "{"),
    ("application/json", '{"rows": []}'),
    ("application/json; charset=latin-1", "{}"),
    ("application/json; profile=x", "{}"),
    ("text/plain", "hello"),
    ("text/csv", "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n5.1,3.5,1.4,0.2\n"),
    ("text/csv", "a,b\n1,2,3\n"),
    ("application/json", '{"dataframe_split": {"columns": %s, "data": []}}'),
]


def main():
    iris()
    columns = json.dumps(["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"])
    documents = [(kind, body.replace("%s", columns)) for kind, body in DOCUMENTS]
    (ROOT / "documents.json").write_text(json.dumps(documents))
    (ROOT / "forms.json").write_text(json.dumps(list(answers())))
    columns = Schema([ColSpec(DataType.string, "do")])
    numbers = [ParamSpec("count", DataType.long, 3), ParamSpec("size", DataType.long, 1)]
    params = ParamSchema([ParamSpec("form", DataType.string, "echo"), *numbers])
    signature = mlflow.models.ModelSignature(inputs=columns)
    save = mlflow.pyfunc.save_model
    save(ROOT / "misbehaving", python_model=Misbehaving(), signature=signature)
    save(ROOT / "hostile", python_model=Hostile(), signature=signature)
    save(ROOT / "answers", python_model=Answers(), signature=mlflow.models.ModelSignature(params=params))
    save(ROOT / "chat", python_model=Chat())
    message = {"role": "user", "content": "hi"}
    nested = infer_signature({"messages": [message]}, [{"n": 1, "last": message}])
    nested.params = params
    save(ROOT / "nested", python_model=Nested(), signature=nested)
    # as MLflow makes it of texts of a class that it does not know
    said = mlflow.models.ModelSignature(inputs=nested.inputs, outputs=Schema([ColSpec(AnyType())]))
    save(ROOT / "said", python_model=Said(), signature=said)
    kinds = {"t": DataType.datetime, "b": DataType.binary, "f": DataType.double}
    outputs = Schema([ColSpec(kind, name) for name, kind in kinds.items()])
    moments = mlflow.models.ModelSignature(Schema([ColSpec(DataType.long, "n")]), outputs, params)
    save(ROOT / "moments", python_model=Moments(), signature=moments)
    times = Schema([ColSpec(DataType.datetime, "t"), ColSpec(DataType.long, "n")])
    save(ROOT / "times", python_model=Times(), signature=mlflow.models.ModelSignature(inputs=times))
    tensors = Schema([TensorSpec(np.dtype("float32"), (-1, 2), "x")])
    save(
        ROOT / "tensors",
        python_model=Answers(),
        signature=mlflow.models.ModelSignature(inputs=tensors, params=params),
    )
    unnamed = Schema([TensorSpec(np.dtype("float32"), (-1, 2))])
    save(
        ROOT / "tensor",
        python_model=Answers(),
        signature=mlflow.models.ModelSignature(inputs=unnamed, params=params),
    )
    save(ROOT / "pickle", python_model=Hostile(), signature=signature)
    # a stranger's pickle instead of the model's own
    (ROOT / "pickle" / "python_model.pkl").write_bytes(cloudpickle.dumps(Payload()))


if __name__ == "__main__":
    main()
