"""A real llama.cpp server on loopback: MODEL.gguf PORT PARALLEL CONTEXT (of each answer)."""

import os
import sys
import threading

import xllamacpp


def main():
    model, port, parallel, context = sys.argv[1], *map(int, sys.argv[2:5])
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = parallel
    params.n_ctx = context * parallel
    params.kv_unified = False
    # Its threads wait by spinning: more than there are cores for, and all stand still.
    params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    params.cpuparams_batch.n_threads = params.cpuparams.n_threads
    server = xllamacpp.Server(params)
    print("ready", server.listening_address, flush=True)
    threading.Event().wait()


main()
