#!/usr/bin/env python3
"""How long rationd takes to load a model, and what it keeps resident: random bfloat16 weights in the shape of Llama-3.2-1B.

    bazel build //server:rationd && tests/bench/load_model.py [--rationd=bazel-bin/server/rationd] [--layers=16] [--runs=3]

Writes about 2.5 GB into a temporary folder ($TMPDIR) and removes it. The file is in the page cache while it is loaded.
"""
import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time

HIDDEN, INNER, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 2048, 8192, 32, 8, 64, 128256


def shapes(layers):
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for i in range(layers):
        prefix = f"model.layers.{i}."
        yield prefix + "input_layernorm.weight", (HIDDEN,)
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,)
        yield prefix + "self_attn.q_proj.weight", (HEADS * HEAD_DIM, HIDDEN)
        yield prefix + "self_attn.k_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield prefix + "self_attn.v_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM)
        yield prefix + "mlp.gate_proj.weight", (INNER, HIDDEN)
        yield prefix + "mlp.up_proj.weight", (INNER, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, INNER)
    yield "model.norm.weight", (HIDDEN,)


def write_model(folder, layers):
    header, at = {}, 0
    for name, shape in shapes(layers):
        size = 2
        for dim in shape:
            size *= dim
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    # One megabyte of numbers of about 0.01, either sign, again and again.
    low, high = os.urandom(1 << 19), bytes((0x3C, 0xBC)[b & 1] for b in os.urandom(1 << 19))
    block = bytes(b for pair in zip(low, high) for b in pair)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, at, len(block)):
            file.write(block[: min(len(block), at - start)])
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=HIDDEN, intermediate_size=INNER,
                  num_hidden_layers=layers, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM,
                  vocab_size=VOCAB, max_position_embeddings=131072, rms_norm_eps=1e-5, rope_theta=500000.0,
                  rope_scaling=dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                    original_max_position_embeddings=8192),
                  tie_word_embeddings=True, torch_dtype="bfloat16", bos_token_id=128000, eos_token_id=128001)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    return at


def status(pid, key):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rationd", default="bazel-bin/server/rationd")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="ration-load.")
    try:
        size = write_model(folder, options.layers)
        print(f"{size / 1e9:.2f} GB of bfloat16 weights")
        for run in range(options.runs):
            ports = os.path.join(folder, f"ports{run}")
            start = time.monotonic()
            server = subprocess.Popen([options.rationd, f"--model={folder}", "--kv_budget=64MiB", "--listen=127.0.0.1:0",
                                       "--metrics_listen=", "--control_listen=", f"--port_file={ports}", "--log_level=error"])
            while not os.path.exists(ports):
                if server.poll() is not None:
                    raise SystemExit(f"rationd ended with status {server.returncode}")
                time.sleep(0.01)
            seconds = time.monotonic() - start
            anonymous, mapped = status(server.pid, "RssAnon"), status(server.pid, "RssFile")
            peak = status(server.pid, "VmHWM")
            server.send_signal(signal.SIGTERM)
            server.wait()
            print(f"ready after {seconds:.2f} s ({size / seconds / 1e9:.2f} GB/s); resident {anonymous / 1e9:.2f} GB own and "
                  f"{mapped / 1e9:.2f} GB of mapped files, peak {peak / 1e9:.2f} GB")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
