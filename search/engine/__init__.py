"""All that touches Ray.

Ray reads these settings when it is imported, and each module here may be the first to do that.
"""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing phones home unless asked to
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the event log replaces them
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C is handled here
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints a table even at verbose=0
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_FORCE_TRIAL_CLEANUP_S", "60")  # a stopped trial ends its epoch first
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "4096")  # Room says how many may start
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # trials say cpu themselves
