"""Train with Transformers: contexts and epochs are recorded without a line in the training code.

Needs ``pip install 'yprov-mlflow[transformers]' torch``. It writes to the folder
``transformers_training`` in the working directory. The model is made from a configuration and the
data are random, so nothing is downloaded.
"""

from pathlib import Path

import torch
import transformers

import yprov_mlflow as mlflow  # instead of: import mlflow

folder = Path("transformers_training").absolute()
folder.mkdir(exist_ok=True)
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
transformers.set_seed(0)

config = transformers.BertConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
)
model = transformers.BertForSequenceClassification(config)
tokens = torch.randint(0, 20, (24, 6))
data = [{"input_ids": row, "labels": int(row[0]) % 2} for row in tokens]
arguments = transformers.TrainingArguments(
    output_dir=str(folder / "checkpoints"),
    num_train_epochs=3,
    eval_strategy="epoch",
    logging_strategy="epoch",
    save_strategy="no",
    report_to=["mlflow"],
    disable_tqdm=True,
    use_cpu=True,
)
trainer = transformers.Trainer(
    model=model, args=arguments, train_dataset=data[:16], eval_dataset=data[16:]
)
with mlflow.start_run() as run:
    trainer.train()
    trainer.evaluate()

document = mlflow.prov.document(run.info.run_id)
print("Activities of the run:")
for activity in sorted(str(r.identifier) for r in document.get_records()):
    if activity.startswith("run:context/"):
        print(f"  {activity}")
