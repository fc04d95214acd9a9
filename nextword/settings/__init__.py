"""Everything a person may set, a class a verb: the flags, the YAML keys and the Python arguments.

The command line, `--config` files, the Python API and the command reference are all made from
these classes, so a setting is named, typed, explained and given its default here and nowhere else.
`None` means "chosen for this corpus and this machine". Nothing heavy is imported here.
"""

from nextword.settings.base import Settings, resolve, with_defaults, with_overrides
from nextword.settings.labelled import (
    ColumnSettings,
    CompareSettings,
    FinetuneSettings,
    PredictSettings,
    Task,
    TaskSettings,
)
from nextword.settings.pretraining import (
    HidingSettings,
    MaskSettings,
    ModelSettings,
    PrepareSettings,
    PretrainSettings,
)
from nextword.settings.using import (
    SAMPLING,
    ChatSettings,
    DoctorSettings,
    EvaluateSettings,
    ExportSettings,
    FillSettings,
    GenerateSettings,
    InfoSettings,
    ReportSettings,
    ServeSettings,
    TraceSettings,
    WritingSettings,
)

__all__ = [
    "SAMPLING",
    "ChatSettings",
    "ColumnSettings",
    "CompareSettings",
    "DoctorSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FillSettings",
    "FinetuneSettings",
    "GenerateSettings",
    "HidingSettings",
    "InfoSettings",
    "MaskSettings",
    "ModelSettings",
    "PredictSettings",
    "PrepareSettings",
    "PretrainSettings",
    "ReportSettings",
    "ServeSettings",
    "Settings",
    "Task",
    "TaskSettings",
    "TraceSettings",
    "WritingSettings",
    "resolve",
    "with_defaults",
    "with_overrides",
]
