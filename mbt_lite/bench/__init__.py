"""How fast the parts are on this machine: one way to measure, one file of measurements, one table made from it.

| file | what |
|---|---|
| commands.py | the commands of `mbt-lite bench`, one a benchmark, and `table` |
| measurement.py | a measurement with its machine, versions and command; appending, reading, the Markdown table |
| grpo.py, grpo_step.py | a GRPO step beside stock TRL's, each run in a process of its own |
| learning.py | what GRPO teaches over several seeds: held-out questions before and after |
| load.py, load_run.py | a student from the start of a process to its first token, each run in a fresh process |
| gen.py, latency_server.py | the teacher's client against a server whose latency is known |
| reward.py, completions.py | the reward law, and its kernel where there is CUDA |
| sft.py, sft_run.py, step_clock.py | SFT beside a stock TRL run on the same rows, each run in a fresh process |
| uneven_traces.py | traces of uneven length to train on |

A benchmark is a function that gives a `Measurement`. It is a command and no test: what it finds depends on the machine.
"""
