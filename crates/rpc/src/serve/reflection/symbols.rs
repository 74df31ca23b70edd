//! The names that a file defines.

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

/// Every full name that a file defines: services and methods, messages, fields and oneofs, enums and their values,
/// extensions. The values of an enum go by the enum's name, as other servers list them, and by that of its scope, where
/// the language has them.
pub(super) fn of(file: &FileDescriptorProto) -> Vec<String> {
    let mut names = Vec::new();
    let package = file.package();
    for message in &file.message_type {
        message_names(&mut names, package, message);
    }
    for one in &file.enum_type {
        enum_names(&mut names, package, one);
    }
    names.extend(file.extension.iter().map(|field| join(package, field.name())));
    for service in &file.service {
        let service_name = join(package, service.name());
        let methods = service.method.iter();
        names.extend(methods.map(|method| join(&service_name, method.name())));
        names.push(service_name);
    }
    names
}

/// Whether a file defines this full name.
pub(super) fn defines(file: &FileDescriptorProto, symbol: &str) -> bool {
    let is_inside = symbol
        .strip_prefix(file.package())
        .is_some_and(|rest| rest.starts_with('.'));
    is_inside && of(file).iter().any(|name| name == symbol)
}

fn join(scope: &str, name: &str) -> String {
    match scope {
        "" => name.to_owned(),
        scope => format!("{scope}.{name}"),
    }
}

fn message_names(names: &mut Vec<String>, scope: &str, message: &DescriptorProto) {
    let own = join(scope, message.name());
    for nested in &message.nested_type {
        message_names(names, &own, nested);
    }
    for one in &message.enum_type {
        enum_names(names, &own, one);
    }
    let fields = message.field.iter().chain(&message.extension);
    names.extend(fields.map(|field| join(&own, field.name())));
    names.extend(message.oneof_decl.iter().map(|oneof| join(&own, oneof.name())));
    names.push(own);
}

fn enum_names(names: &mut Vec<String>, scope: &str, one: &EnumDescriptorProto) {
    let own = join(scope, one.name());
    for value in &one.value {
        names.push(join(&own, value.name()));
        names.push(join(scope, value.name()));
    }
    names.push(own);
}
