"""A bridge to lm-evaluation-harness: its engine asks our questions, our scorer gives the numbers.

::

    lm_eval run --model hf --model_args pretrained=EXPORTED --tasks mbt_lite --include_path mbt_lite/harness \\
        --apply_chat_template --metadata '{"questions": "runs/RUN/eval/questions.jsonl"}'

`questions.jsonl` is what eval asked, trimmed as it asked it; any file of questions in our layout will do. A template
that opens `<think>` itself needs `"prefilled_think": true` in the metadata too. Exact match is then eval's for the same
weights, as long as both generate the same tokens: greedy, in the same precision. A merged 16-bit export is not the
4-bit student that eval runs.
"""
