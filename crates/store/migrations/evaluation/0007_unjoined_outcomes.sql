-- Outcomes whose prediction is not known, in the order of predictions.
CREATE INDEX outcomes_unjoined ON outcomes (workspace, endpoint, predicted_ms, prediction_id) WHERE state <> 'joined';
