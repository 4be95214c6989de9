"""Direct-R, a control: MBT-R with drafts of the teacher."""

from __future__ import annotations

import dataclasses

from mbt_lite.traces.kinds import mbt_r

KIND = dataclasses.replace(mbt_r.KIND, name="direct_r", drafter="teacher")
