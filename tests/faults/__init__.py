"""Faults by the hundred: kills, damaged files, full disks, odd replies, broken recipes, fuzzed inputs.

    cd tests && python -m faults --long          160 kills, 150 damages, 30 full disks, 54 replies, 60 recipes, 50,000
                                                 inputs
    cd tests && python -m faults --long --only kills
    cd tests && python -m faults --seed 1        the small form, as CI runs it (test_faults.py), with other chances

What must hold after each: the process ended by itself or by our kill, never by an exception without a name; the same
command ends as the run that was left alone; nothing was paid twice but what was under way.
"""
