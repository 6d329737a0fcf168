"""Every setting, where it comes from, and `load`, which says what is in force.

Face: what is named here, and `config.settings.routes_file` for the backends file.
"""

from config.settings.load import load as load
from config.settings.settings import ENDPOINTS as ENDPOINTS
from config.settings.settings import MissingSetting as MissingSetting
from config.settings.settings import Settings as Settings
