"""What is trained next: functions of a study and its log, without Ray."""
