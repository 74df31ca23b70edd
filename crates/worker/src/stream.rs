//! The answers of one call, as they come.

use lodeway_domain::Error;
use lodeway_inference::Payload;

use crate::{
    busy::Busy,
    wire::{self, Call},
};

/// The answers of a model's `predict_stream`. Dropped before its end, the model is told to stop.
pub struct PredictStream {
    busy: Option<Busy>,
}

impl PredictStream {
    pub(crate) fn new(busy: Busy) -> Self {
        Self { busy: Some(busy) }
    }

    /// The next answer; `None` at the end and after an error. Can be dropped and called again.
    pub async fn next(&mut self) -> Option<Result<Payload, Error>> {
        let busy = self.busy.as_mut()?;
        let answer = match busy.next().await {
            Ok((reply, body)) => busy.answer(reply, &body),
            Err(error) => Err(error),
        };
        match answer {
            Ok(Some(payload)) => Some(Ok(payload)),
            Ok(None) => {
                self.end();
                None
            }
            Err(error) => {
                self.end();
                Some(Err(error))
            }
        }
    }

    fn end(&mut self) {
        let Some(mut busy) = self.busy.take() else { return };
        if let Some(id) = busy.in_flight()
            // without a body there is nothing that could be too large
            && let Ok(frame) = wire::encode(Call::Cancel, id, 0)
        {
            busy.cancel(frame);
        }
        busy.finish();
    }
}

impl Drop for PredictStream {
    fn drop(&mut self) {
        self.end();
    }
}
