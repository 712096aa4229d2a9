#!/usr/bin/env bash
# Starts the head of a Ray cluster on this machine and stays in the foreground: head.sh ADDRESS [PORT [RAY-OPTION...]]
#
# ADDRESS is this machine's address in the network of the workers. Everybody who is to join or to use the cluster needs
# the token that is made here on first use: copy it to the same path there, mode 0600. The dashboard listens on
# 127.0.0.1:8265; look at it through `ssh -L 8265:127.0.0.1:8265 HEAD`.
set -euo pipefail

address=${1:?usage: head.sh ADDRESS [PORT [RAY-OPTION...]]}
port=${2:-6379}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token} RAY_USAGE_STATS_ENABLED=0

if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
    mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
    echo "head: made a token in $RAY_AUTH_TOKEN_PATH; copy it to the other machines (mode 0600)"
fi
chmod 600 "$RAY_AUTH_TOKEN_PATH"

# No GPUs on the head: a job's driver runs there, and a worker that dies must not take it along.
# 8090: a metrics port must lie outside those of Ray's workers, 10002 to 19999.
exec ray start --head --block --node-ip-address "$address" --port "$port" --num-gpus 0 --num-cpus "${HEAD_CPUS:-1}" \
    --dashboard-host 127.0.0.1 --metrics-export-port "${METRICS_PORT:-8090}" --disable-usage-stats "${@:3}"
