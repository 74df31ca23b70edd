//! How a call ended.

/// How a call to a target ended: well, or with one of the codes of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// With an answer.
    Ok,
    /// The caller gave up.
    Cancelled,
    /// With an error that says nothing.
    Unknown,
    /// The request can never succeed as it is.
    InvalidArgument,
    /// Not in time.
    DeadlineExceeded,
    /// What was asked for does not exist.
    NotFound,
    /// What was to be made exists.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// A bound is reached.
    ResourceExhausted,
    /// The state forbids it; of a model, its code raised an exception at the input.
    FailedPrecondition,
    /// Somebody else was there first.
    Aborted,
    /// The position asked for is outside what exists.
    OutOfRange,
    /// The target cannot do this.
    Unimplemented,
    /// A fault of the target.
    Internal,
    /// The target does not answer.
    Unavailable,
    /// What the target has is damaged.
    DataLoss,
    /// No valid credentials.
    Unauthenticated,
}

impl Outcome {
    /// Every outcome, in the order of the codes of gRPC.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The outcome with this code of gRPC, 0 to 16; any other is unknown, as gRPC says.
    /// Source: <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>.
    pub fn from_code(code: i32) -> Self {
        let at = usize::try_from(code).ok();
        at.and_then(|at| Self::ALL.get(at).copied())
            .unwrap_or(Self::Unknown)
    }

    /// The code of gRPC, 0 to 16.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// `ok`, or the code of gRPC in words, such as `UNAVAILABLE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// Whether this is a failure of the target; every other outcome but `ok` is the caller's, or a bound of the platform.
    ///
    /// A rollout goes back on the former only, or any caller could stop it with bad requests.
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::Unknown | Self::DeadlineExceeded | Self::Internal | Self::Unavailable | Self::DataLoss
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_and_others_are_unknown() {
        for (code, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(outcome.code()), code);
            assert_eq!(Outcome::from_code(code as i32), outcome);
        }
        assert_eq!(Outcome::from_code(17), Outcome::Unknown);
        assert_eq!(Outcome::from_code(-1), Outcome::Unknown);
    }

    #[test]
    fn failures_are_the_targets() {
        let errors = Outcome::ALL.into_iter().filter(|outcome| outcome.is_error());
        let names: Vec<_> = errors.map(Outcome::as_str).collect();
        assert_eq!(
            names,
            [
                "UNKNOWN",
                "DEADLINE_EXCEEDED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS"
            ]
        );
    }
}
