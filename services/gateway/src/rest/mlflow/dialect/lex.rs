//! Clauses of MLflow's search filters: `identifier operator value`, joined by AND.

use super::super::error::RestError;

/// One comparison as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clause {
    /// As written, with its quotes: `` metrics.`a b` ``.
    pub identifier: String,
    /// In upper case.
    pub op: String,
    pub value: Written,
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    /// In single or double quotes, as written between them.
    Text(String),
    /// As written.
    Number(String),
    /// In parentheses.
    List(Vec<Item>),
    /// Nothing: the operator is `IS NULL` or `IS NOT NULL`.
    Absent,
    /// Anything else that can stand there, as written.
    Word(String),
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Text(String),
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name with its dots and quoted parts, or a keyword.
    Word(String),
    /// In single quotes, as written between them.
    Text(String),
    Number(String),
    Op(&'static str),
    Open,
    Close,
    Comma,
    End,
    Other(char),
}

/// The operator that holds where the key is missing.
pub(super) const IS_NULL: &str = "IS NULL";
/// The operator that holds where the key is there.
pub(super) const IS_NOT_NULL: &str = "IS NOT NULL";

const OPERATORS: [&str; 8] = ["<=", ">=", "!=", "<>", "==", "=", "<", ">"];

/// Splits a filter into its clauses; an empty one has none. With `wide_keys`, an unquoted key may have `-` and `/` in it.
pub(super) fn clauses(filter: &str, wide_keys: bool) -> Result<Vec<Clause>, RestError> {
    if filter.len() > 64 * 1024 {
        return Err(RestError::invalid(
            "The filter string is too long; at most 65536 bytes are allowed",
        ));
    }
    let lexer = Lexer {
        text: filter,
        at: 0,
        wide_keys,
    };
    let tokens = lexer.all()?;
    let mut parser = Parser {
        filter,
        tokens,
        next: 0,
    };
    let mut found = Vec::new();
    if parser.peek() == &Token::End {
        return Ok(found);
    }
    loop {
        found.push(parser.clause()?);
        match parser.peek() {
            Token::End => return Ok(found),
            Token::Word(word) if word.eq_ignore_ascii_case("AND") => parser.next += 1,
            _ => return Err(parser.refuse()),
        }
    }
}

struct Parser<'a> {
    filter: &'a str,
    /// Each with where it begins.
    tokens: Vec<(usize, Token)>,
    next: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        let last = self.tokens.len() - 1;
        &self.tokens[self.next.min(last)].1
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// Names the rest of the filter, from the token that does not fit.
    fn refuse(&self) -> RestError {
        let last = self.tokens.len() - 1;
        let at = self.tokens[self.next.min(last)].0;
        let rest = match self.filter[at..].trim() {
            "" => self.filter.trim(),
            rest => rest,
        };
        let clipped: String = rest.chars().take(200).collect();
        RestError::invalid(format!("Invalid clause(s) in filter string: '{clipped}'"))
    }

    fn clause(&mut self) -> Result<Clause, RestError> {
        let start = self.next;
        let identifier = match self.peek() {
            Token::Word(word) if !is_keyword(word) => word.clone(),
            _ => return Err(self.refuse()),
        };
        self.next += 1;
        let Some(op) = self.operator() else {
            self.next = start;
            return Err(self.refuse());
        };
        if matches!(op.as_str(), IS_NULL | IS_NOT_NULL) {
            return Ok(Clause {
                identifier,
                op,
                value: Written::Absent,
            });
        }
        let value = match self.take() {
            Token::Text(text) => Written::Text(text),
            Token::Number(number) => Written::Number(number),
            Token::Word(word) if !is_keyword(&word) => match unquoted(&word, '"') {
                Some(text) => Written::Text(text.to_owned()),
                None => Written::Word(word),
            },
            Token::Open => Written::List(self.list()?),
            _ => {
                self.next = start;
                return Err(self.refuse());
            }
        };
        Ok(Clause {
            identifier,
            op,
            value,
        })
    }

    fn operator(&mut self) -> Option<String> {
        let word = |token: &Token| match token {
            Token::Word(word) => word.to_ascii_uppercase(),
            _ => String::new(),
        };
        match self.take() {
            Token::Op(op) => Some(op.to_owned()),
            token => match word(&token).as_str() {
                op @ ("LIKE" | "ILIKE" | "RLIKE" | "IN") => Some(op.to_owned()),
                "NOT" => match word(&self.take()).as_str() {
                    "IN" => Some("NOT IN".to_owned()),
                    _ => None,
                },
                "IS" => match word(&self.take()).as_str() {
                    "NULL" => Some(IS_NULL.to_owned()),
                    "NOT" if word(&self.take()) == "NULL" => Some(IS_NOT_NULL.to_owned()),
                    _ => None,
                },
                _ => None,
            },
        }
    }

    fn list(&mut self) -> Result<Vec<Item>, RestError> {
        let ill = || {
            RestError::invalid(
                "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed \
                 list.",
            )
        };
        let mut items = Vec::new();
        loop {
            match self.take() {
                Token::Close => return Ok(items),
                Token::Text(text) => items.push(Item::Text(entry(&text, '\''))),
                Token::Word(word) => items.push(match unquoted(&word, '"') {
                    Some(text) => Item::Text(entry(text, '"')),
                    None => Item::Other(word),
                }),
                Token::Number(number) => items.push(Item::Other(number)),
                _ => return Err(ill()),
            }
            match self.take() {
                Token::Close => return Ok(items),
                Token::Comma => {}
                _ => return Err(ill()),
            }
        }
    }
}

fn is_keyword(word: &str) -> bool {
    [
        "AND", "OR", "NOT", "IN", "LIKE", "ILIKE", "RLIKE", "IS", "NULL", "BETWEEN",
    ]
    .iter()
    .any(|k| word.eq_ignore_ascii_case(k))
}

/// The text between two quotes, if it stands in them.
pub(super) fn unquoted(text: &str, quote: char) -> Option<&str> {
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(inner)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    wide_keys: bool,
}

impl Lexer<'_> {
    fn all(mut self) -> Result<Vec<(usize, Token)>, RestError> {
        let mut tokens = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start().len();
            let at = self.at;
            let token = self.token()?;
            let end = token == Token::End;
            tokens.push((at, token));
            if end {
                return Ok(tokens);
            }
        }
    }

    fn token(&mut self) -> Result<Token, RestError> {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return Ok(Token::End);
        };
        if let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
            self.at += op.len();
            return Ok(Token::Op(op));
        }
        match first {
            '(' => Ok(self.one(Token::Open)),
            ')' => Ok(self.one(Token::Close)),
            ',' => Ok(self.one(Token::Comma)),
            ';' if rest[1..].trim().is_empty() => {
                self.at = self.text.len();
                Ok(Token::Other(';'))
            }
            ';' => Err(RestError::invalid(format!(
                "Search filter contained multiple expression '{}'. Provide AND-ed expression list.",
                self.text
            ))),
            '\'' => match self.quoted(rest, '\'') {
                Some(text) => Ok(Token::Text(text)),
                None => Ok(self.one(Token::Other('\''))),
            },
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => Ok(self.number(rest)),
            c if c.is_alphanumeric() || matches!(c, '_' | '`' | '"') => Ok(self.word(rest)),
            c => {
                self.at += c.len_utf8();
                Ok(Token::Other(c))
            }
        }
    }

    fn one(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    /// What stands in the quotes, as written: neither a backslash nor a doubled quote is taken out of it.
    fn quoted(&mut self, rest: &str, quote: char) -> Option<String> {
        let end = closing(rest, quote)?;
        self.at += end + 1;
        Some(rest[1..end].to_owned())
    }

    fn number(&mut self, rest: &str) -> Token {
        let mut end = 0;
        for (i, c) in rest.char_indices() {
            let sign = matches!(c, '-' | '+') && (i == 0 || rest[..i].ends_with(['e', 'E']));
            if !(sign || c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E')) {
                break;
            }
            end = i + c.len_utf8();
        }
        self.at += end.max(1);
        let text = &rest[..end.max(1)];
        match text.parse::<f64>() {
            Ok(_) => Token::Number(text.to_owned()),
            Err(_) => Token::Other(text.chars().next().unwrap_or('?')),
        }
    }

    /// A dotted name whose parts may be quoted.
    fn word(&mut self, rest: &str) -> Token {
        let mut end = 0;
        let mut begins = true;
        while let Some(c) = rest[end..].chars().next() {
            if begins && matches!(c, '`' | '"' | '\'') {
                let Some(length) = closing(&rest[end..], c) else {
                    self.at += rest.len();
                    return Token::Other(c);
                };
                end += length + 1;
                begins = false;
            } else if c.is_alphanumeric()
                || matches!(c, '_' | '.')
                || self.wide_keys && matches!(c, '-' | '/') && rest[..end].contains('.')
            {
                end += c.len_utf8();
                begins = c == '.';
            } else {
                break;
            }
        }
        self.at += end;
        Token::Word(rest[..end].to_owned())
    }
}

/// Where the quote that ends the text at the beginning of `rest` stands. A doubled quote does not end it, nor does one after
/// a backslash except in backticks; where no other quote follows, the last of them does: `'C:\'`.
fn closing(rest: &str, quote: char) -> Option<usize> {
    let mut last = None;
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        let passes_over = c == quote || (c == '\\' && quote != '`');
        match chars.next_if(|(_, next)| passes_over && *next == quote) {
            Some((after, _)) => last = Some(if c == quote { at } else { after }),
            None if c == quote => return Some(at),
            None => {}
        }
    }
    last
}

/// An entry of a list, in which a backslash stands before a quote or another backslash, and a quote may be doubled.
fn entry(written: &str, quote: char) -> String {
    let mut text = String::with_capacity(written.len());
    let mut chars = written.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match c {
            '\\' => chars.next_if(|next| matches!(next, '\'' | '"' | '\\')),
            c if c == quote => chars.next_if_eq(&quote),
            _ => None,
        };
        text.push(escaped.unwrap_or(c));
    }
    text
}
