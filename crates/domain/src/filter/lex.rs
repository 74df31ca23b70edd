//! Text to tokens, each with its position in characters from 1.

use std::{iter::Peekable, str::Chars};

use super::Value;

/// A fault at a position, before it becomes an [`Error`](crate::Error).
#[derive(Debug)]
pub(super) struct Fault {
    pub at: usize,
    pub message: String,
}

impl Fault {
    pub fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A keyword, a bare name or an unquoted path.
    Word(String),
    /// A prefix (without its dot) and the key that was quoted after it.
    Path(String, String),
    /// Text in backticks.
    Ticked(String),
    /// Text in single or double quotes.
    Quoted(String),
    Number(Value),
    Symbol(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub at: usize,
    pub kind: Kind,
}

/// Whether `c` may stand in a name or an unquoted key.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/')
}

const SYMBOLS: [&str; 10] = ["<=", ">=", "!=", "<>", "=", "<", ">", "(", ")", ","];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer {
        chars: text.chars().peekable(),
        at: 1,
    };
    let mut found = Vec::new();
    loop {
        let token = lexer.token()?;
        let end = token.kind == Kind::End;
        found.push(token);
        if end {
            return Ok(found);
        }
    }
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    at: usize,
}

impl Lexer<'_> {
    fn token(&mut self) -> Result<Token, Fault> {
        self.take_while(char::is_whitespace);
        let at = self.at;
        let Some(&first) = self.chars.peek() else {
            return Ok(Token { at, kind: Kind::End });
        };
        let kind = match first {
            '\'' | '"' => Kind::Quoted(self.quoted()?),
            '`' => Kind::Ticked(self.quoted()?),
            c if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => Kind::Number(self.number()?),
            c if c.is_alphabetic() || c == '_' => self.word()?,
            _ => self.symbol()?,
        };
        Ok(Token { at, kind })
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.at += usize::from(next.is_some());
        next
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.chars.next_if(|c| wanted(*c)) {
            self.at += 1;
            taken.push(c);
        }
        taken
    }

    fn quoted(&mut self) -> Result<String, Fault> {
        let start = self.at;
        let quote = self.bump();
        let mut text = String::new();
        while let Some(c) = self.bump() {
            if c == '\0' {
                return Err(Fault::new(self.at - 1, "the character NUL is not allowed"));
            }
            if Some(c) != quote {
                text.push(c);
            } else if self.chars.peek() == quote.as_ref() {
                text.extend(self.bump());
            } else {
                return Ok(text);
            }
        }
        let quote = quote.unwrap_or_default();
        Err(Fault::new(
            start,
            format!("the text that begins here is not closed; end it with {quote}"),
        ))
    }

    fn word(&mut self) -> Result<Kind, Fault> {
        let mut word = self.take_while(is_word);
        if word.ends_with('.') && matches!(self.chars.peek(), Some('`' | '"')) {
            word.pop();
            return Ok(Kind::Path(word, self.quoted()?));
        }
        Ok(Kind::Word(word))
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        let mut text = String::new();
        while let Some(&c) = self.chars.peek() {
            let sign = matches!(c, '+' | '-') && (text.is_empty() || text.ends_with(['e', 'E']));
            if !(sign || c.is_alphanumeric() || c == '.' || c == '_') {
                break;
            }
            text.extend(self.bump());
        }
        let wrong = |why: &str| Err(Fault::new(start, format!("`{}` {why}", crate::id::clip(&text))));
        if let Ok(whole) = text.parse::<i64>() {
            return Ok(Value::Int(whole));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) => {
                wrong("does not fit a double; write Infinity if you mean it")
            }
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => wrong("is not a number; put texts in quotes"),
        }
    }

    fn symbol(&mut self) -> Result<Kind, Fault> {
        let start = self.at;
        let first = self.bump().unwrap_or_default();
        let pair: String = [Some(first), self.chars.peek().copied()]
            .into_iter()
            .flatten()
            .collect();
        let (long, short) = SYMBOLS.split_at(4);
        if let Some(symbol) = long.iter().find(|s| **s == pair) {
            self.bump();
            return Ok(Kind::Symbol(symbol));
        }
        match short.iter().find(|s| s.starts_with(first)) {
            Some(symbol) => Ok(Kind::Symbol(symbol)),
            None => Err(Fault::new(start, format!("unexpected character {first:?}"))),
        }
    }
}
