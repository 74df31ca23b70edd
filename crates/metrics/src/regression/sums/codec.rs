//! The byte form of the sums.

use lodeway_domain::Result;

use super::{Range, RegressionSums};
use crate::{
    bytes::{Reader, Writer},
    moments::Mean,
};

impl RegressionSums {
    /// The versioned byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.f64(self.quantile);
        self.means().into_iter().for_each(|mean| mean.write(&mut writer));
        writer.u8(u8::from(self.has_poisson));
        writer.f64(self.largest);
        for sum in [self.error, self.target, self.target_squared] {
            writer.sum(sum);
        }
        for range in [self.error_range, self.target_range] {
            writer.f64(range.least);
            writer.f64(range.greatest);
        }
        writer.f64(self.shift);
        self.moments.iter().for_each(|&sum| writer.sum(sum));
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let Ok(mut sums) = Self::new(reader.f64()?) else {
            return Err(reader.damaged("has a quantile outside [0, 1]"));
        };
        for mean in sums.means_mut() {
            *mean = Mean::read(&mut reader)?;
        }
        sums.has_poisson = reader.bool()?;
        sums.largest = reader.f64()?;
        for sum in [&mut sums.error, &mut sums.target, &mut sums.target_squared] {
            *sum = reader.sum()?;
        }
        for range in [&mut sums.error_range, &mut sums.target_range] {
            *range = Range {
                least: reader.f64()?,
                greatest: reader.f64()?,
            };
        }
        sums.shift = reader.f64()?;
        for sum in &mut sums.moments {
            *sum = reader.sum()?;
        }
        reader.check(sums.largest >= 0.0, "has a largest error below 0")?;
        reader.finish()?;
        Ok(sums)
    }
}
