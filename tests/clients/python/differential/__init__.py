"""The same HTTP calls on a real `mlflow server` and on Lodeway, and what differs between the answers."""
