//! What a command line says of who calls, checked before anything is sent; a refusal never repeats a secret.

use std::{ffi::OsStr, str::FromStr};

use clap::{
    Arg, Command,
    builder::{TypedValueParser, ValueParserFactory},
    error::ErrorKind,
};
use http::HeaderValue;
use lodeway_rpc::config::Secret;

/// A bearer token, or none where the text is empty, as of a variable that is set to nothing.
#[derive(Debug, Clone)]
pub struct Token(Secret<String>);

impl Token {
    /// The token, if there is one; keep it out of logs.
    pub fn reveal(&self) -> Option<&str> {
        Some(self.0.reveal().as_str()).filter(|token| !token.is_empty())
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        header_text(text).map(|text| Self(Secret::new(text)))
    }
}

/// A text that headers carry and servers read. Errors: why this is none, without the text.
pub fn header_text(text: &str) -> Result<String, String> {
    let why = if text.contains(['\n', '\r']) {
        "has a line break in it, which no header carries"
    } else if !text.is_ascii() {
        "has characters in it that are not ASCII, which no server reads"
    } else if HeaderValue::from_str(text).is_err() {
        "has a control character in it, which no header carries"
    } else {
        return Ok(text.to_owned());
    };
    Err(why.to_owned())
}

/// Reads an argument whose text may hold a secret: what is said of a bad one is what its type says, and no more.
#[derive(Debug, Clone)]
pub struct Discreet<T>(std::marker::PhantomData<T>);

impl<T> Discreet<T> {
    /// A parser of `T`.
    pub fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: FromStr<Err = String> + Clone + Send + Sync + 'static> TypedValueParser for Discreet<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parsed = value.to_str().ok_or_else(|| "is not UTF-8".to_owned());
        parsed.and_then(str::parse).map_err(|why| {
            let name = argument.map(ToString::to_string).unwrap_or_default();
            let variable = argument.and_then(Arg::get_env).map(OsStr::to_string_lossy);
            let variable = variable.map(|name| format!(" (or {name})")).unwrap_or_default();
            // A raw error is shown as it is, so that it ends as those of clap do.
            let message = format!(
                "invalid value for '{name}'{variable}: {why}\n\nFor more information, try '--help'.\n"
            );
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

impl ValueParserFactory for Token {
    type Parser = Discreet<Self>;

    fn value_parser() -> Discreet<Self> {
        Discreet::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_headers_carry_and_servers_read() {
        for (text, read) in [("abc", Some("abc")), ("a b+/=", Some("a b+/=")), ("", None)] {
            assert_eq!(text.parse::<Token>().unwrap().reveal(), read);
        }
        for (text, why) in [
            ("geheimö", "not ASCII"),
            ("geheim\n", "line break"),
            ("geheim\r\nx: y", "line break"),
            ("geheim\u{7}", "control character"),
        ] {
            let said = text.parse::<Token>().unwrap_err();
            assert!(said.contains(why) && !said.contains("geheim"), "{said}");
        }
        assert!(!format!("{:?}", "abc".parse::<Token>().unwrap()).contains("abc"));
    }
}
