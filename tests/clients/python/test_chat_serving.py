"""Chat models and agents of the stock client: by tensors of JSON texts, in streams, by server-sent events, typed."""

import json
import queue
import socket
import time

import grpc
import numpy as np
import pytest
import requests
from platform_process import Platform
from test_serving import make, runtime_env
from typed_service import caller

MESSAGES = [{"role": "user", "content": "three small words"}]


@pytest.fixture(scope="module")
def host():
    with Platform(env=runtime_env()) as running:
        yield running


@pytest.fixture(scope="module")
def stub(host, stubs):
    from lodeway.gateway.v1 import endpoint_service_pb2_grpc

    with grpc.insecure_channel(host.target) as channel:
        yield endpoint_service_pb2_grpc.EndpointServiceStub(channel)


@pytest.fixture(scope="module")
def models(host):
    """Registers chat models, two kinds of agents, functions of messages, and one that does not stream."""
    import mlflow
    from mlflow.models import infer_signature
    from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
    from mlflow.types.llm import ChatCompletionChunk, ChatCompletionResponse
    from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent

    mlflow.set_tracking_uri(host.url)
    mlflow.set_registry_uri(host.url)
    mlflow.set_experiment("chat")

    class Chat(mlflow.pyfunc.ChatModel):
        def predict(self, context, messages, params=None):
            text = f"{messages[-1].content} at {params.temperature}"
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return ChatCompletionResponse.from_dict({"id": "1", "model": "m", "choices": [choice]})

        def predict_stream(self, context, messages, params=None):
            for word in messages[-1].content.split():
                if word == "fail":
                    raise RuntimeError("planted")
                choice = {"index": 0, "delta": {"role": "assistant", "content": word}}
                yield ChatCompletionChunk.from_dict({"id": "1", "model": "m", "choices": [choice]})

    class Bare(mlflow.pyfunc.ChatModel):
        """Sets what it has to set, and no id."""

        def predict(self, context, messages, params=None):
            choice = {"index": 0, "message": {"role": "assistant", "content": messages[-1].content}}
            return ChatCompletionResponse.from_dict({"created": 7, "choices": [choice]})

    class Text(str):
        """A text of a class of its own, as parsers of LangChain give them."""

    class Said(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [Text(of[-1]["content"]) for of in model_input["messages"]]

        def predict_stream(self, context, model_input, params=None):
            yield from map(Text, model_input["messages"][-1]["content"].split())

    class Named(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return {"y": np.array([1.0, 2.0])}

    class Agent(mlflow.pyfunc.ChatAgent):
        def predict(self, messages, context=None, custom_inputs=None):
            text = f"{messages[-1].content} for {context and context.user_id} with {custom_inputs}"
            return ChatAgentResponse(messages=[ChatAgentMessage(id="1", role="assistant", content=text)])

        def predict_stream(self, messages, context=None, custom_inputs=None):
            for word in messages[-1].content.split():
                yield ChatAgentChunk(delta=ChatAgentMessage(id="1", role="assistant", content=word))

    class Responses(mlflow.pyfunc.ResponsesAgent):
        def predict(self, request):
            return ResponsesAgentResponse(output=[self.create_text_output_item("done", "1")])

        def predict_stream(self, request):
            item = self.create_text_output_item("done", "1")
            yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)

    class Function(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return [{"n": len(of), "last": of[-1]} for of in model_input["messages"]]

        def predict_stream(self, context, model_input, params=None):
            yield from (message["content"] for message in model_input["messages"])

    class Whole(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return {"text": model_input["messages"].iloc[0][-1]["content"], "tags": ["a"]}

    class Flood(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return ["done"] * len(model_input)

        def predict_stream(self, context, model_input, params=None):
            yield from ["x" * 100_000] * 1_000_000

    example = {"messages": MESSAGES}
    answer = [{"n": 1, "last": MESSAGES[0]}]
    with mlflow.start_run():
        log = mlflow.pyfunc.log_model
        log(name="model", python_model=Chat(), registered_model_name="chat")
        log(name="model", python_model=Bare(), registered_model_name="bare")
        signature = infer_signature(example, [Text("a")])
        log(name="model", python_model=Said(), signature=signature, registered_model_name="said")
        log(name="model", python_model=Flood(), signature=signature, registered_model_name="flood")
        log(name="model", python_model=Named(), registered_model_name="named")
        log(name="model", python_model=Agent(), registered_model_name="agent")
        log(name="model", python_model=Responses(), registered_model_name="responses")
        signature = infer_signature(example, answer)
        log(name="model", python_model=Function(), signature=signature, registered_model_name="messages")
        signature = infer_signature(example)
        log(name="model", python_model=Whole(), signature=signature, registered_model_name="whole")


@pytest.fixture(scope="module")
def endpoints(models, stub):
    for name in ("chat", "bare", "said", "flood", "named", "agent", "responses", "messages", "whole"):
        make(stub, name, (f"models:/{name}/1", 1))


@pytest.fixture(scope="module")
def triton(host):
    import tritonclient.grpc as triton

    return triton.InferenceServerClient(host.target)


def json_tensor(module, name, *rows):
    tensor = module.InferInput(name, [len(rows)], "BYTES")
    texts = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    tensor.set_data_from_numpy(np.array(texts, dtype=np.object_))
    return tensor


def values(answer, name):
    return [json.loads(text) for text in answer.as_numpy(name)]


def streamed(triton, model, inputs, count, **options):
    """`count` answers of a stream, then what comes until it ends."""
    answers = queue.Queue()
    triton.start_stream(callback=lambda result, error: answers.put((result, error)))
    triton.async_stream_infer(model, inputs, **options)
    seen = [answers.get(timeout=60) for _ in range(count)]
    triton.stop_stream()
    while not answers.empty():
        seen.append(answers.get())
    return seen


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_messages_are_a_tensor_of_json_texts(host, endpoints, protocol):
    import importlib

    module = importlib.import_module(f"tritonclient.{protocol}")
    client = module.InferenceServerClient(host.target)
    temperature = module.InferInput("temperature", [1], "FP64")
    temperature.set_data_from_numpy(np.array([0.5]))
    inputs = [json_tensor(module, "messages", MESSAGES), temperature, json_tensor(module, "stop", ["x"])]
    answer = client.infer("chat", inputs, outputs=[module.InferRequestedOutput(n) for n in ("choices", "model")])
    choice = values(answer, "choices")[0][0]
    assert choice["message"]["content"] == "three small words at 0.5"
    assert answer.as_numpy("model").tolist() == [b"m"]

    inputs = [json_tensor(module, "messages", MESSAGES), json_tensor(module, "custom_inputs", {"k": [1, None]})]
    inputs.append(json_tensor(module, "context", {"user_id": "u"}))
    message = values(client.infer("agent", inputs), "messages")[0][0]
    assert message["content"] == "three small words for u with {'k': [1, None]}"

    answer = client.infer("messages", [json_tensor(module, "messages", MESSAGES, MESSAGES * 2)])
    assert answer.as_numpy("n").tolist() == [1, 2]
    assert values(answer, "last") == MESSAGES * 2
    answer = client.infer("whole", [json_tensor(module, "messages", MESSAGES)])
    assert values(answer, "predictions") == [{"text": "three small words", "tags": ["a"]}]
    answer = client.infer("responses", [json_tensor(module, "input", MESSAGES)])
    assert values(answer, "predictions")[0]["output"][0]["content"][0]["text"] == "done"


def test_a_chat_model_may_leave_out_what_its_signature_requires(endpoints, triton, typed):
    import tritonclient.grpc as module

    answer = triton.infer("bare", [json_tensor(module, "messages", MESSAGES)])
    assert values(answer, "choices")[0][0]["message"]["content"] == "three small words"
    assert answer.as_numpy("created").tolist() == [7] and answer.as_numpy("id") is None
    told = typed("bare", "Predict", {"messages": MESSAGES})
    assert told["choices"][0]["message"]["content"] == "three small words"
    assert told["created"] == "7" and "id" not in told


def test_texts_of_any_type_are_json_texts_as_metadata_says(host, endpoints, triton):
    import tritonclient.grpc as module

    (output,) = requests.get(f"{host.url}/v2/models/said", timeout=30).json()["outputs"]
    assert output["name"] == "predictions" and output["parameters"] == {"content_type": "json"}
    answer = triton.infer("said", [json_tensor(module, "messages", MESSAGES, MESSAGES * 2)])
    assert values(answer, "predictions") == ["three small words"] * 2
    seen = streamed(triton, "said", [json_tensor(module, "messages", MESSAGES)], 3)
    assert [values(result, "predictions") for result, _ in seen] == [["three"], ["small"], ["words"]]


def test_the_end_of_a_stream_is_told_to_who_wants_it(endpoints, triton):
    import tritonclient.grpc as module

    def last(result):
        return result.get_response().parameters["triton_final_response"].bool_param

    inputs = [json_tensor(module, "messages", MESSAGES)]
    seen = streamed(triton, "said", inputs, 4, request_id="r", enable_empty_final_response=True)
    assert [error for _, error in seen] == [None] * 4
    assert [values(result, "predictions") for result, _ in seen[:3]] == [["three"], ["small"], ["words"]]
    assert [last(result) for result, _ in seen] == [False, False, False, True]
    end = seen[3][0].get_response()
    assert (end.id, end.model_version, list(end.outputs)) == ("r", "1", [])
    assert [last(result) for result, _ in streamed(triton, "said", inputs, 3)] == [False] * 3
    # A model without streams gives its one answer, which is the last.
    for options in ({}, {"enable_empty_final_response": True}):
        seen = streamed(triton, "whole", inputs, 1, **options)
        assert [last(result) for result, _ in seen] == [True]


def test_who_stops_reading_a_stream_takes_the_model_from_nobody(host, endpoints):
    body = json.dumps({"messages": MESSAGES, "stream": True})
    head = "POST /endpoints/flood/invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    name, port = host.target.split(":")
    with socket.create_connection((name, int(port))) as stalled:
        stalled.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        assert stalled.recv(300).startswith(b"HTTP/1.1 200 OK")
        started = time.monotonic()
        assert post(host, "flood", {"messages": MESSAGES}).json() == ["done"]
        assert time.monotonic() - started < 15


def test_an_answer_with_one_name_keeps_it_in_a_document(host, endpoints, triton):
    import tritonclient.grpc as module

    assert post(host, "named", {"inputs": [1, 2]}).json() == {"predictions": {"y": [1.0, 2.0]}}
    assert post(host, "named", {"dataframe_records": [{"a": 1}]}).json() == {"predictions": {"y": [1.0, 2.0]}}
    tensor = module.InferInput("x", [1], "FP64")
    tensor.set_data_from_numpy(np.array([1.0]))
    assert triton.infer("named", [tensor]).as_numpy("y").tolist() == [1.0, 2.0]


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("model", ["chat", "agent"])
def test_a_document_that_does_not_fit_is_named(host, endpoints, model, streams):
    for body, parts in (
        ({"messages": [{"role": "user", "content": 1}]}, ['inputs["messages"][0][0]["content"]', "must be a string"]),
        ({"messages": MESSAGES + [{"content": "x"}]}, ['inputs["messages"][0][1]["role"]', "missing"]),
        ({"messages": "hi"}, ['inputs["messages"][0]', "must be a list"]),
        ({"inputs": [{"messages": MESSAGES}, {"messages": MESSAGES}]}, ["2 rows"]),
    ):
        reply = post(host, model, {**body, "stream": streams})
        assert reply.status_code == 400, reply.text
        assert reply.json()["error_code"] == "INVALID_PARAMETER_VALUE", reply.text
        assert all(part in reply.json()["message"] for part in parts), reply.text


@pytest.mark.parametrize("binary", [True, False])
def test_binary_and_json_tensors_mean_the_same(host, endpoints, binary):
    import tritonclient.http as triton

    client = triton.InferenceServerClient(host.target)
    tensor = triton.InferInput("messages", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([json.dumps(MESSAGES)], dtype=np.object_), binary_data=binary)
    wanted = [triton.InferRequestedOutput("last", binary_data=binary)]
    answer = client.infer("messages", [tensor], outputs=wanted)
    assert values(answer, "last") == MESSAGES
    assert answer.get_output("last")["parameters"]["content_type"] == "json"


def test_metadata_says_what_is_json(host, endpoints, triton):
    told = triton.get_model_metadata("messages")
    described = [(t.name, t.datatype, list(t.shape)) for t in (*told.inputs, *told.outputs)]
    assert described == [("messages", "BYTES", [-1]), ("n", "INT64", [-1]), ("last", "BYTES", [-1])]
    told = requests.get(f"{host.url}/v2/models/messages", timeout=30).json()
    assert told["inputs"][0]["parameters"] == {"content_type": "json"}
    assert [output.get("parameters") for output in told["outputs"]] == [None, {"content_type": "json"}]
    assert told["properties"] == {"streams": "true"}
    assert "properties" not in requests.get(f"{host.url}/v2/models/whole", timeout=30).json()


@pytest.mark.parametrize(
    ("model", "name", "rows", "parts"),
    [
        ("messages", "messages", [MESSAGES, b"[{"], ['inputs["messages"][1]', "is no JSON"]),
        ("messages", "messages", [[{"role": "user"}]], ['inputs["messages"][0][0]["content"]', "missing"]),
        ("messages", "messages", [[{**MESSAGES[0], "content": 1}]], ['["content"]', "must be a string"]),
        ("chat", "messages", [{"role": "user"}], ['inputs["messages"][0]', "must be a list"]),
        ("chat", "messages", [MESSAGES, MESSAGES], ["one conversation a call", "2 rows"]),
    ],
)
def test_what_does_not_fit_is_named(host, endpoints, triton, model, name, rows, parts):
    import tritonclient.grpc as module

    tensor = json_tensor(module, name, *rows)
    with pytest.raises(Exception) as refused:
        triton.infer(model, [tensor])
    assert "INVALID_ARGUMENT" in refused.value.status()
    assert all(part in refused.value.message() for part in parts), refused.value
    # A stream answers it as an error, and goes on.
    ((_, error), *rest) = streamed(triton, model, [tensor], 1)
    assert not rest and error is not None
    if len(rows) == 1:
        assert all(part in error.message() for part in parts), error


def test_chunks_come_one_by_one(host, endpoints, triton):
    import tritonclient.grpc as module

    messages = json_tensor(module, "messages", MESSAGES)
    for model, text in (
        ("chat", lambda chunk: chunk["choices"][0]["delta"]["content"]),
        ("agent", lambda chunk: chunk["delta"]["content"]),
    ):
        seen = streamed(triton, model, [messages], 3)
        assert [error for _, error in seen] == [None] * 3
        assert [text(values(result, "predictions")[0]) for result, _ in seen] == ["three", "small", "words"]
    ((event, error),) = streamed(triton, "responses", [json_tensor(module, "input", MESSAGES)], 1)
    assert error is None and values(event, "predictions")[0]["type"] == "response.output_item.done"
    seen = streamed(triton, "messages", [json_tensor(module, "messages", MESSAGES * 2)], 2)
    assert [result.as_numpy("predictions").item() for result, _ in seen] == [b"three small words"] * 2
    # What does not stream answers once.
    ((whole, error),) = streamed(triton, "whole", [messages], 1)
    assert error is None and values(whole, "predictions")[0]["text"] == "three small words"


def events(reply):
    """The events of an answer, as clients of chat models read them."""
    assert reply.headers["content-type"] == "text/event-stream"
    lines = [line for line in reply.iter_lines(decode_unicode=True) if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def post(host, name, body, **options):
    return requests.post(f"{host.url}/endpoints/{name}/invocations", json=body, timeout=60, **options)


def test_a_document_is_answered_by_events_where_the_model_streams(host, endpoints):
    reply = post(host, "chat", {"messages": MESSAGES, "stream": True}, stream=True)
    assert reply.status_code == 200 and reply.headers["x-lodeway-model-version"] == "1"
    assert reply.headers["x-lodeway-prediction-id"]
    chunks = events(reply)
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks] == ["three", "small", "words"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len(events(post(host, "agent", {"messages": MESSAGES, "stream": True}))) == 3
    assert len(events(post(host, "responses", {"input": MESSAGES, "stream": True}))) == 1
    split = {"dataframe_split": {"columns": ["messages"], "data": [[MESSAGES]]}, "stream": True}
    assert events(post(host, "messages", split)) == [{"predictions": "three small words"}]

    whole = post(host, "chat", {"messages": MESSAGES, "stream": False})
    assert whole.headers["content-type"] == "application/json"
    assert whole.json()["choices"][0]["message"]["content"].startswith("three small words")
    whole = post(host, "whole", {"messages": MESSAGES, "stream": True})
    assert whole.headers["content-type"] == "application/json", "a model that does not stream answers as ever"
    assert whole.json() == {"text": "three small words", "tags": ["a"]}


def test_what_fails_in_a_stream_is_told_where_it_fails(host, endpoints):
    reply = post(host, "chat", {"messages": [{"content": "no role"}], "stream": True})
    assert reply.status_code == 400 and reply.json()["error_code"] == "INVALID_PARAMETER_VALUE", reply.text
    reply = post(host, "chat", {"messages": [{"role": "user", "content": "fail"}], "stream": True})
    assert reply.status_code == 400 and "planted" in reply.json()["message"]
    reply = post(host, "chat", {"messages": [{"role": "user", "content": "one fail"}], "stream": True})
    assert reply.status_code == 200
    first, last = events(reply)
    assert first["choices"][0]["delta"]["content"] == "one" and "planted" in last["error"]


@pytest.fixture(scope="module")
def typed(host, endpoints):
    with grpc.insecure_channel(host.target) as channel:
        yield caller(channel)


def test_typed_services_have_messages_for_conversations(typed):
    told = typed("chat", "Predict", {"messages": MESSAGES, "temperature": 0.25})
    assert told["choices"][0]["message"]["content"] == "three small words at 0.25"
    told = typed("agent", "Predict", {"messages": MESSAGES, "context": {"user_id": "u"}, "custom_inputs": {"k": [1]}})
    # Numbers of any value are of 64 bits with a point.
    content = "three small words for u with {'k': [1.0]}"
    assert told == {"messages": [{"id": "1", "role": "assistant", "content": content}]}
    told = typed("messages", "PredictBatch", {"rows": [{"messages": MESSAGES}, {"messages": MESSAGES * 2}]})
    assert [row["last"] for row in told["rows"]] == MESSAGES * 2
    told = typed("whole", "Predict", {"messages": MESSAGES})
    assert told == {"prediction": {"text": "three small words", "tags": ["a"]}}
    told = typed("responses", "Predict", {"input": MESSAGES})
    assert told["prediction"]["output"][0]["content"][0]["text"] == "done", told
    with pytest.raises(grpc.RpcError) as refused:
        typed("chat", "PredictBatch", {"rows": [{"messages": MESSAGES}] * 2})
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "one conversation a call" in refused.value.details()


def test_typed_services_stream_what_models_do(typed):
    pieces = list(typed("chat", "PredictStream", {"messages": MESSAGES}))
    assert [piece["piece"]["choices"][0]["delta"]["content"] for piece in pieces] == ["three", "small", "words"]
    # A model that does not stream answers once, as it does elsewhere.
    [only] = typed("whole", "PredictStream", {"messages": MESSAGES})
    assert only["piece"] == {"text": "three small words", "tags": ["a"]}
    # What fails at once is refused like any call; what fails later ends the stream.
    broken = typed("chat", "PredictStream", {"messages": [{"role": "user", "content": "one fail"}]})
    assert next(broken)["piece"]["choices"][0]["delta"]["content"] == "one"
    with pytest.raises(grpc.RpcError) as failed:
        next(broken)
    assert failed.value.code() == grpc.StatusCode.FAILED_PRECONDITION and "planted" in failed.value.details()
    with pytest.raises(grpc.RpcError) as refused:
        list(typed("chat", "PredictStream", {}))
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION and "IndexError" in refused.value.details()
