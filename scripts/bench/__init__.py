"""What Farthing costs: the gateway beside the floor of its own stack, nginx and no gateway at all, in one run.

    python -m scripts.bench [--rounds N] [--seconds S] [--only NAME …] [--markdown]
    python -m scripts.bench ledger
    python -m scripts.bench interference
    python -m scripts.bench instructions [--rounds N] [--against COMMIT]

The gateway runs on core 0, the upstream and the load on core 1; rounds are shuffled and interleaved, medians are
shown. Figures of different runs do not compare: read the ratios. Nothing but 127.0.0.1 is ever talked to.
"""
