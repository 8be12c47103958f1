"""What listens to the events of stores: logs, metrics and progress bars."""
