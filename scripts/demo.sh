#!/usr/bin/env bash
# The main job with no cloud: orders through a queue in a file, and the Lambda host over recorded
# events:  demo.sh PYTHON
set -euo pipefail
python=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The queue is a file below this folder; what fails is tried again soon, since somebody watches.
export QUEUE_LOCAL_DIRECTORY=$work QUEUE_RETRY_BACKOFF_MS=100 LEDGER_BUSY_SECONDS=1

run() {
    echo "\$ queue-runtime $*"
    "$python" -m queue_runtime.cli "$@"
}

echo "2,000 orders: most are good, some fail once, some never get through, some are no orders."
echo
"$python" -m functions.demo >"$work/orders.jsonl"
run send --queue local://orders --lines "$work/orders.jsonl" --table
echo
run poll functions.orders:take_order --queue local://orders --until-empty --table --quiet
echo
echo "The same handler as an AWS Lambda function, over recorded SQS events:"

show() {
    echo
    # The log says again what the table shows.
    run invoke "functions.orders:$1" "functions/events/$2.json" --dead-letter "$3" --table \
        2>"$work/log" || { cat "$work/log" >&2; exit 1; }
}

show take_order standard orders-dlq
show take_order fifo orders-dlq.fifo
show take_order poison orders-dlq
show take_order_from_sns sns orders-dlq

echo
echo "The same handler as an Azure Function, over Service Bus messages:"
echo
run invoke --azure functions.orders:take_order functions/events/azure/messages.json --table \
    2>"$work/log" || { cat "$work/log" >&2; exit 1; }
