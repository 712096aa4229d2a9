#!/usr/bin/env bash
# Lets this machine's GPUs and cores join a cluster and stays in the foreground: worker.sh HEAD_ADDRESS [PORT [RAY-OPTION...]]
#
# Needs the head's token at the same path, mode 0600. Weights are fetched once a machine (FARM_WEIGHTS_DIR or the user's
# cache); stores are configured here as everywhere: ~/.config/farm/config.toml and ~/.aws/credentials.
set -euo pipefail

head=${1:?usage: worker.sh HEAD_ADDRESS [PORT [RAY-OPTION...]]}
port=${2:-6379}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token} RAY_USAGE_STATS_ENABLED=0

if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
    echo "worker: no token in $RAY_AUTH_TOKEN_PATH; copy the head's there (mode 0600)" >&2
    exit 77
fi
if [ "$(stat -c %a "$RAY_AUTH_TOKEN_PATH")" != 600 ]; then
    echo "worker: others can read $RAY_AUTH_TOKEN_PATH; chmod 600 it" >&2
    exit 77
fi

exec ray start --block --address "$head:$port" --metrics-export-port "${METRICS_PORT:-8090}" --disable-usage-stats \
    ${WORKER_CPUS:+--num-cpus "$WORKER_CPUS"} ${WORKER_GPUS:+--num-gpus "$WORKER_GPUS"} ${WORKER_ADDRESS:+--node-ip-address "$WORKER_ADDRESS"} \
    "${@:3}"
