"""mbt-lite: Metacognitive Behavioral Tuning of small language models on one consumer GPU.

Method: arXiv 2602.22508. Four stages meet in the files of one run folder::

    questions --gen--> traces --sft--> adapter --grpo--> adapter --eval--> metrics + report
"""

__version__ = "0.1.0"
