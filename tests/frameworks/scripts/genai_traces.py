"""Traces of functions, threads and coroutines, in several runs and in none, with assessments."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import mlflow
from mlflow.entities import AssessmentSource, AssessmentSourceType, SpanType

experiment = mlflow.set_experiment("genai")
BOB = AssessmentSource(source_type=AssessmentSourceType.HUMAN, source_id="bob")
JUDGE = AssessmentSource(source_type=AssessmentSourceType.LLM_JUDGE, source_id="judge-1")


@mlflow.trace(span_type=SpanType.RETRIEVER)
def retrieve(question):
    return [{"page_content": f"about {question}", "metadata": {"doc_uri": "doc-1"}}]


@mlflow.trace(span_type=SpanType.AGENT, attributes={"version": 2})
def answer(question):
    documents = retrieve(question)
    with mlflow.start_span("generate", span_type=SpanType.CHAT_MODEL) as span:
        span.set_inputs({"question": question, "documents": documents})
        span.set_outputs(f"answer to {question}")
    return f"answer to {question}"


@mlflow.trace
def fail(question):
    raise ValueError(question)


@mlflow.trace
async def part(number):
    await asyncio.sleep(0.01)
    return number


@mlflow.trace
async def whole(count):
    return sum(await asyncio.gather(*(part(number) for number in range(count))))


def last_trace():
    return mlflow.get_last_active_trace_id(thread_local=True)


def work(number):
    with mlflow.start_run(run_name=f"thread {number}", experiment_id=experiment.experiment_id):
        answer(f"question {number}")
        mlflow.log_metric("answers", 1)
        trace = last_trace()
        mlflow.flush_trace_async_logging()
        mlflow.log_feedback(
            trace_id=trace, name="useful", value=number % 2 == 0, rationale="read it", source=BOB
        )


with mlflow.start_run(run_name="main"):
    answer("one")
    one = last_trace()
    try:
        fail("two")
    except ValueError:
        mlflow.log_param("failed", True)
    asyncio.run(whole(3))
    with mlflow.start_run(run_name="nested", nested=True):
        answer("three")
        nested = last_trace()
    mlflow.flush_trace_async_logging()
    feedback = mlflow.log_feedback(trace_id=one, name="score", value=0.5, source=JUDGE)
    mlflow.log_expectation(trace_id=one, name="expected", value="answer to one", source=BOB)

# Feedback of a later process or time has no active run.
mlflow.override_feedback(
    trace_id=one, assessment_id=feedback.assessment_id, value=0.9, rationale="better", source=BOB
)
gone = mlflow.log_feedback(trace_id=nested, name="gone", value=1, source=JUDGE)
mlflow.delete_assessment(trace_id=nested, assessment_id=gone.assessment_id)
mlflow.set_trace_tag(nested, "reviewed", "yes")

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

# A pool without runs, and a trace of several threads.
with ThreadPoolExecutor(3) as pool:
    list(pool.map(answer, ["four", "five", "six"]))
with mlflow.start_run(run_name="fan out"), mlflow.start_span("fan out") as root:

    def step(number):
        span = mlflow.start_span_no_context(f"step {number}", parent_span=root)
        span.set_outputs(number)
        span.end()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(step, range(4)))
mlflow.flush_trace_async_logging()
