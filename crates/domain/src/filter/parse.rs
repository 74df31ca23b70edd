//! Tokens to a checked expression, by recursive descent of bounded depth.

use super::{
    Expr, Field, MAX_BYTES, MAX_CLAUSES, MAX_DEPTH, MAX_PATTERN_BYTES, MAX_VALUES, Op, Value,
    lex::{self, Fault, Kind as Tok, Token},
    schema::{Kind, Schema, Word},
};
use crate::{Error, FieldViolation, Reason, Result};

pub(super) fn filter(text: &str, schema: &Schema) -> Result<Option<Expr>> {
    let refuse = |fault| refusal("filter", Reason::InvalidFilter, fault);
    if text.len() > MAX_BYTES {
        let description = format!("is {} bytes long; at most {MAX_BYTES} are allowed", text.len());
        return Err(Error::Invalid(vec![
            FieldViolation::new("filter", description).because(Reason::InvalidFilter),
        ]));
    }
    let mut parser = Parser::new(text, schema).map_err(refuse)?;
    if parser.peek().kind == Tok::End {
        return Ok(None);
    }
    let expr = parser.or(0).map_err(refuse)?;
    parser.end("AND, OR or the end of the filter").map_err(refuse)?;
    Ok(Some(expr))
}

/// A fault as the violation of a request field.
pub(super) fn refusal(field: &str, reason: Reason, fault: Fault) -> Error {
    let description = format!("at position {}: {}", fault.at, fault.message);
    Error::Invalid(vec![FieldViolation::new(field, description).because(reason)])
}

pub(super) struct Parser<'a> {
    schema: &'a Schema,
    tokens: Vec<Token>,
    next: usize,
    clauses: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    pub fn new(text: &str, schema: &'a Schema) -> Result<Self, Fault> {
        Ok(Self {
            schema,
            tokens: lex::tokens(text)?,
            next: 0,
            clauses: 0,
            values: 0,
        })
    }

    /// The next token; the last one is always `End`, which is never passed.
    pub fn peek(&self) -> &Token {
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += usize::from(token.kind != Tok::End);
        token
    }

    /// Passes the keyword if it comes next.
    pub fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(&self.peek().kind, Tok::Word(w) if w.eq_ignore_ascii_case(word));
        self.next += usize::from(found);
        found
    }

    pub fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek().kind, Tok::Symbol(s) if s == symbol);
        self.next += usize::from(found);
        found
    }

    fn expected<T>(&self, what: &str) -> Result<T, Fault> {
        let token = self.peek();
        Err(Fault::new(
            token.at,
            format!("expected {what}, found {}", describe(&token.kind)),
        ))
    }

    pub fn end(&self, what: &str) -> Result<(), Fault> {
        if self.peek().kind == Tok::End {
            Ok(())
        } else {
            self.expected(what)
        }
    }

    fn or(&mut self, depth: usize) -> Result<Expr, Fault> {
        let mut parts = vec![self.and(depth)?];
        while self.keyword("OR") {
            parts.push(self.and(depth)?);
        }
        Ok(single(parts, Expr::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Expr, Fault> {
        let mut parts = vec![self.not(depth)?];
        while self.keyword("AND") {
            parts.push(self.not(depth)?);
        }
        Ok(single(parts, Expr::And))
    }

    fn not(&mut self, depth: usize) -> Result<Expr, Fault> {
        let at = self.peek().at;
        if depth > MAX_DEPTH {
            return Err(Fault::new(
                at,
                format!("nests deeper than {MAX_DEPTH}; write it flatter"),
            ));
        }
        if self.keyword("NOT") {
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.symbol("(") {
            let inner = self.or(depth + 1)?;
            return if self.symbol(")") {
                Ok(inner)
            } else {
                self.expected("AND, OR or `)`")
            };
        }
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            return Err(Fault::new(
                at,
                format!("more than {MAX_CLAUSES} comparisons; split the search"),
            ));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, Fault> {
        let (field, kind) = self.field()?;
        if self.keyword("IS") {
            let negated = self.keyword("NOT");
            return if self.keyword("NULL") {
                Ok(Expr::IsNull { field, negated })
            } else {
                self.expected("NULL")
            };
        }
        let at = self.peek().at;
        let negated = self.keyword("NOT");
        if self.keyword("IN") {
            return self.list(field, kind, negated);
        }
        let op = self.operator(negated)?;
        if !allowed(kind, op) {
            let usable = if kind == Kind::Bool {
                "= and !="
            } else {
                "=, !=, <, <=, >, >= and IN"
            };
            let message = format!(
                "`{field}` cannot be compared by {}; it takes {usable}",
                op.as_str()
            );
            return Err(Fault::new(at, message));
        }
        let at = self.peek().at;
        let mut value = self.value(&field, kind, op.as_str())?;
        if matches!(op, Op::Eq | Op::Ne) {
            value = self.word(&field, value, at)?;
        }
        match &value {
            Value::Number(number) if number.is_nan() && op.is_range() => {
                Err(Fault::new(at, "NaN has no order; compare it by = or !="))
            }
            Value::Text(pattern) if op.is_pattern() && pattern.len() > MAX_PATTERN_BYTES => Err(Fault::new(
                at,
                format!("the pattern is longer than {MAX_PATTERN_BYTES} bytes"),
            )),
            _ => Ok(Expr::Compare { field, op, value }),
        }
    }

    /// A field and the type of its values.
    pub fn field(&mut self) -> Result<(Field, Kind), Fault> {
        let at = self.peek().at;
        let resolved = match &self.peek().kind {
            Tok::Word(word) => match word.split_once('.') {
                Some((prefix, key)) => self.schema.field(Some(prefix), key),
                None => self.schema.field(None, word),
            },
            Tok::Path(prefix, key) => self.schema.field(Some(prefix), key),
            Tok::Ticked(name) => self.schema.field(None, name),
            _ => return self.expected("a field"),
        };
        let field = resolved.map_err(|message| Fault::new(at, message))?;
        self.next += 1;
        if field.key.contains('\0') {
            return Err(Fault::new(at, "the character NUL is not allowed"));
        }
        let kind = self.schema.kind(&field).unwrap_or(Kind::Text);
        Ok((field, kind))
    }

    fn operator(&mut self, negated: bool) -> Result<Op, Fault> {
        for (word, plain, negative) in [
            ("LIKE", Op::Like, Op::NotLike),
            ("ILIKE", Op::ILike, Op::NotILike),
        ] {
            if self.keyword(word) {
                return Ok(if negated { negative } else { plain });
            }
        }
        if negated {
            return self.expected("LIKE, ILIKE or IN after NOT");
        }
        let op = match self.peek().kind {
            Tok::Symbol("=") => Op::Eq,
            Tok::Symbol("!=" | "<>") => Op::Ne,
            Tok::Symbol("<") => Op::Lt,
            Tok::Symbol("<=") => Op::Le,
            Tok::Symbol(">") => Op::Gt,
            Tok::Symbol(">=") => Op::Ge,
            _ => return self.expected("an operator (=, !=, <, <=, >, >=, LIKE, ILIKE, IN, IS NULL)"),
        };
        self.next += 1;
        Ok(op)
    }

    fn list(&mut self, field: Field, kind: Kind, negated: bool) -> Result<Expr, Fault> {
        if kind == Kind::Bool {
            let message = format!("`{field}` cannot be compared by IN; it takes = and !=");
            return Err(Fault::new(self.peek().at, message));
        }
        if !self.symbol("(") {
            return self.expected("`(` after IN");
        }
        let mut values = Vec::new();
        let mut after = "(";
        loop {
            let at = self.peek().at;
            let value = self.value(&field, kind, after)?;
            values.push(self.word(&field, value, at)?);
            after = ",";
            if !self.symbol(after) {
                break;
            }
        }
        if self.symbol(")") {
            Ok(Expr::In {
                field,
                values,
                negated,
            })
        } else {
            self.expected("`,` or `)`")
        }
    }

    /// The value as it is stored, if it can be one of the field's.
    fn word(&self, field: &Field, value: Value, at: usize) -> Result<Value, Fault> {
        let words = self.schema.words(field);
        stored(words, value.clone()).ok_or_else(|| {
            let known: Vec<String> = words.iter().map(|(_, shown)| format!("`{shown}`")).collect();
            let found = match &value {
                Value::Text(text) => crate::id::clip(text),
                other => other.to_string(),
            };
            let message = format!(
                "`{found}` is no `{field}` of {}s; expected one of {}",
                self.schema.entity,
                known.join(", ")
            );
            Fault::new(at, message)
        })
    }

    fn value(&mut self, field: &Field, kind: Kind, after: &str) -> Result<Value, Fault> {
        self.values += 1;
        let at = self.peek().at;
        if self.values > MAX_VALUES {
            return Err(Fault::new(
                at,
                format!("more than {MAX_VALUES} values; split the search"),
            ));
        }
        let found = match &self.peek().kind {
            Tok::Quoted(text) => Some(Value::Text(text.clone())),
            Tok::Number(number) => Some(number.clone()),
            Tok::Word(word) => word_value(word),
            _ => None,
        };
        let Some(value) = found else {
            return self.expected(&format!("a value after `{after}`"));
        };
        let token = self.advance();
        kind.coerce(value).ok_or_else(|| {
            let found = describe(&token.kind);
            Fault::new(
                at,
                format!("expected {} for `{field}`, found {found}", kind.expected()),
            )
        })
    }
}

/// The value as it is stored, of a field that has certain words only; others as they are.
fn stored(words: &[Word], value: Value) -> Option<Value> {
    let Value::Text(text) = &value else {
        return Some(value);
    };
    if words.is_empty() {
        return Some(value);
    }
    let is_meant = |word: &str| word.eq_ignore_ascii_case(text);
    let found = words
        .iter()
        .find(|(stored, shown)| is_meant(stored) || is_meant(shown));
    found.map(|(stored, _)| Value::Text((*stored).to_owned()))
}

fn word_value(word: &str) -> Option<Value> {
    match word.to_ascii_lowercase().as_str() {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "nan" => Some(Value::Number(f64::NAN)),
        "inf" | "infinity" => Some(Value::Number(f64::INFINITY)),
        _ => None,
    }
}

const fn allowed(kind: Kind, op: Op) -> bool {
    match kind {
        Kind::Text => true,
        Kind::Bool => matches!(op, Op::Eq | Op::Ne),
        Kind::Time | Kind::Int | Kind::Number => !op.is_pattern(),
    }
}

fn single(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn describe(kind: &Tok) -> String {
    match kind {
        Tok::Word(text) => format!("`{}`", crate::id::clip(text)),
        Tok::Path(prefix, key) => format!("`{prefix}.{}`", crate::id::clip(key)),
        Tok::Ticked(text) | Tok::Quoted(text) => format!("the text `{}`", crate::id::clip(text)),
        Tok::Number(number) => format!("the number `{number}`"),
        Tok::Symbol(symbol) => format!("`{symbol}`"),
        Tok::End => "the end".to_owned(),
    }
}
