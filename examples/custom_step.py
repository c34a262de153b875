"""A training step of one's own: a small network learns from a large one (knowledge distillation, Hinton et al. 2015).

The step is written as Keras users on PyTorch write it. It runs once for each slice of a batch; what it gives to `optimizer.apply` is summed
over the slices first, so the result is the same bits on any number of workers, and a killed one costs nothing here either.

python examples/custom_step.py
disttrain launch examples/custom_step.py --workers 2
"""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import disttrain as dt
from disttrain import layers

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
arguments = parser.parse_args()


class Distilled(dt.Model):
    """A student that learns the labels, and what its teacher thinks of all other classes."""

    def __init__(self, teacher: dt.Model, temperature: float = 4.0, share: float = 0.3) -> None:
        super().__init__()
        self.teacher, self.temperature, self.share = teacher, temperature, share
        self.teacher.trainable = False
        self.flatten = layers.Flatten()
        self.hidden = layers.Dense(16, activation="relu")
        self.head = layers.Dense(10)
        self.distance = dt.metrics.Mean(name="distance_to_teacher")

    def call(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(self.flatten(inputs)))

    def train_step(self, data):
        x, y = data
        with torch.no_grad():
            believed = F.softmax(self.teacher(x, training=False) / self.temperature, dim=-1)
        self.zero_grad()
        logits = self(x, training=True)
        told = self.compute_loss(x=x, y=y, y_pred=logits)
        distance = F.kl_div(F.log_softmax(logits / self.temperature, dim=-1), believed, reduction="batchmean") * self.temperature**2
        loss = self.share * told + (1 - self.share) * distance
        loss.backward()
        weights = self.trainable_weights
        self.optimizer.apply([weight.grad for weight in weights], weights)
        self.distance.update_state(distance, sample_weight=len(x))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=len(x))
            elif metric is not self.distance:
                metric.update_state(y, logits)
        return self.get_metrics_result()


images, labels = load_digits(return_X_y=True)
images = (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32")
x, x_test, y, y_test = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)

teacher = dt.Sequential(
    [
        dt.Input((8, 8, 1)),
        layers.Conv2D(48, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(96, 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.4),
        layers.Dense(10),
    ]
)
loss = dt.losses.SparseCategoricalCrossentropy(from_logits=True)
teacher.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
teacher.fit(x, y, batch_size=32, epochs=max(2, arguments.epochs // 3), verbose=2)

student = Distilled(teacher)
student.compile(optimizer=dt.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
history = student.fit(x, y, batch_size=32, epochs=arguments.epochs, verbose=2)
result = student.evaluate(x_test, y_test, verbose=0, return_dict=True)
print(f"teacher: {teacher.count_params():,} weights; student: {sum(w.numel() for w in student.trainable_weights):,}")
print(f"held-out digits: the student's accuracy {result['accuracy']:.3f}")
