"""The Trainer of Transformers, which reports to MLflow, and a pipeline logged as model."""

import json
from pathlib import Path

import mlflow
import transformers
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

transformers.utils.logging.set_verbosity_error()
mlflow.set_experiment("transformers")
mlflow.transformers.autolog()

Path("vocabulary.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdef"]))
tokenizer = BertTokenizer(vocab="vocabulary.txt")
TEXTS = ["a b", "b c", "c d", "d e", "e f", "f a", "a c", "b d"]


def encoded(texts):
    tokens = tokenizer(texts, padding="max_length", max_length=6)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": number % 2}
        for number, (ids, mask) in enumerate(
            zip(tokens["input_ids"], tokens["attention_mask"], strict=True)
        )
    ]


for rate in (1e-3, 1e-2):
    transformers.set_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), intermediate_size=8, **sizes)
    model = BertForSequenceClassification(config)
    arguments = transformers.TrainingArguments(
        output_dir="checkpoints",
        num_train_epochs=3,
        per_device_train_batch_size=4,
        learning_rate=rate,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="epoch",
        report_to=["mlflow"],
        run_name=f"rate {rate}",
        disable_tqdm=True,
        use_cpu=True,
    )
    with mlflow.start_run(run_name=f"rate {rate}"):
        trainer = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=encoded(TEXTS[:6]),
            eval_dataset=encoded(TEXTS[6:]),
        )
        trainer.train()
        trainer.evaluate()

with mlflow.start_run(run_name="pipeline"):
    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    mlflow.transformers.log_model(
        pipeline, name="letters", registered_model_name="letters", pip_requirements=["transformers"]
    )

with open("trained_on.json", "w") as file:
    json.dump({}, file)

ENDS = ("", "/context/validation")
EXPECTED = [f"context/training/epoch/{n}{end}" for n in range(3) for end in ENDS]
with open("contexts.json", "w") as file:
    json.dump({f"rate {rate}": [*EXPECTED, "context/validation"] for rate in (1e-3, 1e-2)}, file)
