"""What PyTorch takes for a training step, or one pass, of a Transformer of the same sizes.

Random tokens, no padding, random weights; modules of torch.nn, tied output layer, Adam, label smoothing 0.1,
dropout 0.1. `ar` is causal behind BOS, `vanilla` sees positions alone (its length head is left out).
bfloat16 is torch.autocast. Prints the median of the steps.

Usage: python docs/results/pytorch_step.py train|pass --family=ar|vanilla --size=small|base --vocab=N --rows=N
       --length=N --dtype=float32|bfloat16 --threads=N --repeats=N
"""

import argparse
import statistics
import time

import torch
from torch import nn

SIZES = {"small": (5, 5, 256, 1024, 4), "base": (6, 6, 512, 2048, 8)}


class Model(nn.Module):
    """Encoder and decoder over one embedding."""

    def __init__(self, size: str, vocab: int, length: int, causal: bool):
        super().__init__()
        encoder, decoder, width, hidden, heads = SIZES[size]
        options = {"dim_feedforward": hidden, "dropout": 0.1, "batch_first": True, "norm_first": True}
        self.width, self.causal = width, causal
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, heads, **options), encoder, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, heads, **options), decoder)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, source, shifted):
        places = self.positions(torch.arange(source.shape[1]))[None]
        memory = self.encoder(self.tokens(source) * self.width**0.5 + places)
        mask = nn.Transformer.generate_square_subsequent_mask(source.shape[1]) if self.causal else None
        inputs = places + self.tokens(shifted) * self.width**0.5 if self.causal else places.expand_as(memory)
        states = self.decoder(inputs, memory, tgt_mask=mask, tgt_is_causal=self.causal)
        return nn.functional.linear(states, self.tokens.weight, self.bias)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("train", "pass"))
    parser.add_argument("--family", choices=("ar", "vanilla"), default="ar")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    for name, value in (("vocab", 10_000), ("rows", 64), ("length", 25), ("threads", 1), ("repeats", 10)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = Model(args.size, args.vocab, args.length, args.family == "ar")
    source, target = torch.randint(4, args.vocab, (2, args.rows, args.length))
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bfloat16"):
            logits = model(source, torch.roll(target, 1, 1))
        if args.what == "train":
            value = loss(logits.float().reshape(-1, args.vocab), target.reshape(-1))
            adam.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()

    model.train(args.what == "train")
    times = []
    with torch.set_grad_enabled(args.what == "train"):
        for _ in range(args.repeats + 2):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
    seconds = statistics.median(times[2:])
    rate = args.rows * args.length / seconds
    print(
        f"{vars(args)} {seconds * 1e3:.1f} ms, {rate:.0f} target tokens/s, {args.rows / seconds:.1f} rows/s"
    )


main()
