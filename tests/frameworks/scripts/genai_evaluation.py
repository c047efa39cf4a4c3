"""A prompt, an evaluation with scorers, OpenAI's client and a LangChain chain, all local."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import openai
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.prompts import PromptTemplate
from mlflow.genai.scorers import scorer

mlflow.set_experiment("evaluation")
mlflow.openai.autolog()
mlflow.langchain.autolog()


class Completions(BaseHTTPRequestHandler):
    """Answers as OpenAI's service does."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": "four"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        completion = {
            "id": "completion-1",
            "object": "chat.completion",
            "created": 1,
            "model": "small",
            "choices": [choice],
            "usage": usage,
        }
        body = json.dumps(completion).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


service = HTTPServer(("127.0.0.1", 0), Completions)
threading.Thread(target=service.serve_forever, daemon=True).start()
client = openai.OpenAI(
    base_url=f"http://127.0.0.1:{service.server_port}/v1", api_key="sk-not-a-key", max_retries=0
)
mlflow.genai.register_prompt(name="sum", template="How much is {{a}} and {{b}}?")


@mlflow.trace
def predict(a, b):
    prompt = mlflow.genai.load_prompt("prompts:/sum/1").format(a=a, b=b)
    messages = [{"role": "user", "content": prompt}]
    reply = client.chat.completions.create(model="small", messages=messages)
    return reply.choices[0].message.content


@scorer
def exact(outputs, expectations):
    return outputs == expectations["expected_response"]


@scorer
def length(outputs):
    return len(outputs)


with mlflow.start_run(run_name="calls"):
    predict(2, 2)
    chain = PromptTemplate.from_template("Say {word}") | FakeListLLM(responses=["hello", "bye"])
    chain.invoke({"word": "hello"})
    chain.batch([{"word": "x"}, {"word": "y"}])
chain.invoke({"word": "outside"})

DATA = [
    {"inputs": {"a": 2, "b": 2}, "expectations": {"expected_response": "four"}},
    {"inputs": {"a": 2, "b": 3}, "expectations": {"expected_response": "five"}},
]
with mlflow.start_run(run_name="evaluated"):
    mlflow.genai.evaluate(data=DATA, predict_fn=predict, scorers=[exact, length])
mlflow.genai.evaluate(data=DATA, predict_fn=predict, scorers=[exact])
mlflow.flush_trace_async_logging()
service.shutdown()
