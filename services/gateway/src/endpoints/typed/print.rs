//! A file descriptor as the text of a `.proto` file, as `buf format` writes it.

use std::collections::HashMap;

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::{describe::path, names::json_name};

/// The text of a file. Only what typed services have is known: no enums, no options but JSON names, no extensions.
pub(super) fn text(file: &FileDescriptorProto) -> String {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let comments = locations.filter_map(|l| Some((l.path.as_slice(), l.leading_comments.as_deref()?)));
    let mut printer = Printer {
        out: String::new(),
        comments: comments.collect(),
        package: file.package(),
    };
    printer.comment(&[path::SYNTAX], 0);
    printer.line(0, "syntax = \"proto3\";");
    printer.blank();
    printer.line(0, &format!("package {};", file.package()));
    if !file.dependency.is_empty() {
        printer.blank();
    }
    for import in &file.dependency {
        printer.line(0, &format!("import \"{import}\";"));
    }
    for (at, service) in file.service.iter().enumerate() {
        printer.blank();
        let own = [path::SERVICES, place(at)];
        printer.comment(&own, 0);
        printer.line(0, &format!("service {} {{", service.name()));
        for (at, method) in service.method.iter().enumerate() {
            printer.comment(&[&own[..], &[path::METHODS, place(at)]].concat(), 1);
            let (asked, answered) = (last(method.input_type()), last(method.output_type()));
            let streamed = if method.server_streaming() { "stream " } else { "" };
            printer.line(
                1,
                &format!("rpc {}({asked}) returns ({streamed}{answered});", method.name()),
            );
        }
        printer.line(0, "}");
    }
    for (at, message) in file.message_type.iter().enumerate() {
        printer.blank();
        printer.message(&[path::MESSAGES, place(at)], message, 0);
    }
    printer.out
}

fn place(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}

/// The last part of a name. Names of our own messages are one a file, so that it is enough.
fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

struct Printer<'a> {
    out: String,
    comments: HashMap<&'a [i32], &'a str>,
    package: &'a str,
}

impl Printer<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        let pad = "  ".repeat(depth);
        self.out.extend([pad.as_str(), text, "\n"]);
    }

    fn blank(&mut self) {
        self.out.push('\n');
    }

    fn comment(&mut self, path: &[i32], depth: usize) {
        if let Some(text) = self.comments.get(path).copied() {
            for line in text.lines() {
                self.line(depth, &format!("//{line}"));
            }
        }
    }

    fn message(&mut self, path: &[i32], message: &DescriptorProto, depth: usize) {
        self.comment(path, depth);
        let nested: Vec<_> = message
            .nested_type
            .iter()
            .enumerate()
            .filter(|(_, nested)| !is_map_entry(nested))
            .collect();
        if message.field.is_empty() && nested.is_empty() {
            return self.line(depth, &format!("message {} {{}}", message.name()));
        }
        self.line(depth, &format!("message {} {{", message.name()));
        for (at, field) in message.field.iter().enumerate() {
            self.comment(&[path, &[path::FIELDS, place(at)]].concat(), depth + 1);
            let field = self.field(message, field);
            self.line(depth + 1, &field);
        }
        for (at, nested) in nested {
            self.blank();
            self.message(&[path, &[path::NESTED, place(at)]].concat(), nested, depth + 1);
        }
        self.line(depth, "}");
    }

    fn field(&self, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
        let is_repeated = field.label() == Label::Repeated;
        let entry = message
            .nested_type
            .iter()
            .find(|nested| is_repeated && is_map_entry(nested) && last(field.type_name()) == nested.name());
        let of = match entry.and_then(|entry| entry.field.get(1)) {
            Some(value) => format!("map<string, {}>", self.type_of(value)),
            None if is_repeated => format!("repeated {}", self.type_of(field)),
            None if field.proto3_optional() => format!("optional {}", self.type_of(field)),
            None => self.type_of(field),
        };
        let json = match field.json_name() {
            own if own == json_name(field.name()) => String::new(),
            own => format!(" [json_name = {}]", literal(own)),
        };
        format!("{of} {} = {}{json};", field.name(), field.number())
    }

    fn type_of(&self, field: &FieldDescriptorProto) -> String {
        let word = match field.r#type() {
            Type::Message => {
                let name = field.type_name();
                return match name.strip_prefix(".google.") {
                    // Under an endpoint called `google` the name would be looked for in its package.
                    Some(_) if self.package.ends_with(".google") => name.to_owned(),
                    Some(_) => name.trim_start_matches('.').to_owned(),
                    None => last(name).to_owned(),
                };
            }
            Type::Bool => "bool",
            Type::Int32 => "int32",
            Type::Int64 => "int64",
            Type::Uint32 => "uint32",
            Type::Uint64 => "uint64",
            Type::Float => "float",
            Type::Double => "double",
            Type::Bytes => "bytes",
            _ => "string",
        };
        word.to_owned()
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message
        .options
        .as_ref()
        .is_some_and(|options| options.map_entry())
}

/// The text between quotes, with what cannot stand there escaped.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                out.push('\\');
                out.push(letter);
            }
            '\n' => out.push_str("\\n"),
            letter if letter.is_ascii_control() => {
                out.push_str(&format!("\\{:03o}", u32::from(letter)));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
