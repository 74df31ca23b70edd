//! Addresses as people may see them: passwords, and what stands in a query under a name of a secret, are `***`.

use url::Url;

/// Parts of names, in lower case, by which a parameter of a query holds a secret.
const SECRET_NAMES: [&str; 8] = ["pass", "pwd", "secret", "token", "key", "sig", "cred", "auth"];

/// A text with the secrets of the addresses in it (`scheme://user:password@host/?token=…`) as `***`. An address ends at
/// white space, a double quote or a backtick.
pub fn hidden_in_text(text: &str) -> String {
    hidden(text, |c| c.is_whitespace() || matches!(c, '"' | '`'))
}

/// As [`hidden_in_text`], of a text that is an address or several: they end where the next one begins.
pub fn hidden_in_address(text: &str) -> String {
    hidden(text, |_| false)
}

/// As [`hidden_in_text`], of a document of TOML with a value a line.
pub fn hidden_in_toml(document: &str) -> String {
    let each = document.split_inclusive('\n').map(|line| {
        let value = line.trim_end_matches(['\n', ',']);
        let value = value.strip_suffix(['"', '\'']).unwrap_or(value);
        let close = &line[value.len()..];
        hidden_in_address(value) + close
    });
    each.collect()
}

/// The address of a database without its secrets; none of a text that is not one (key=value pairs, say) or that may hold a
/// secret where none belongs, as behind a sign of a password that ought to be escaped.
pub fn hidden_in_database(text: &str) -> Option<String> {
    if text.starts_with("sqlite://") {
        return Some(hidden_in_address(text));
    }
    let url = Url::parse(text).ok()?;
    let is_address = matches!(url.scheme(), "postgres" | "postgresql");
    let (_, address) = text.split_once("://").filter(|_| is_address)?;
    let (authority, rest) = address.split_at(address.find(['/', '?', '#']).unwrap_or(address.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (name, _) = user.split_once(':').unwrap_or((user, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '\\');
    let is_pair = |value: &str| value.contains('=') || value.to_ascii_lowercase().contains("%3d");
    let holds_pair = |part: &str| part.split_once('=').is_some_and(|(_, value)| is_pair(value));
    let is_sure = !text.contains(is_odd)
        && !user.contains('@')
        && !is_pair(name)
        && !name.to_ascii_lowercase().contains("%3a")
        && !is_pair(host)
        && !is_pair(path)
        && !path.contains(':')
        && !rest.contains(['@', '#'])
        && !query.split(['&', ';']).any(holds_pair);
    is_sure.then(|| hidden_in_address(text))
}

fn hidden(text: &str, is_end: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let within = &after[..after.find(&is_end).unwrap_or(after.len())];
        let (address, _) = within.split_at(before_next_scheme(within));
        rest = &after[address.len()..];
        push_hidden(&mut shown, address);
    }
    shown.push_str(rest);
    shown
}

/// Where the scheme of the next address begins; the end if there is none.
fn before_next_scheme(text: &str) -> usize {
    let Some(next) = text.find("://") else {
        return text.len();
    };
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text[..next].trim_end_matches(is_of_scheme).len()
}

/// Adds what stands behind `scheme://`, without its secrets.
fn push_hidden(shown: &mut String, address: &str) {
    let authority = &address[..address.find(['/', '?', '#']).unwrap_or(address.len())];
    let mut rest = address;
    if let Some(at) = authority
        .rfind('@')
        .or_else(|| stray_password_end(address, authority))
    {
        let user = &address[..at];
        match user.split_once(':') {
            Some((name, _)) => shown.push_str(&format!("{name}:***")),
            None => shown.push_str(user),
        }
        rest = &address[at..];
    }
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    shown.push_str(place);
    for part in query.split_inclusive(['?', '&', '#', ';']) {
        match part.split_once('=') {
            Some((name, value)) if is_secret(name) => {
                let end = value.trim_end_matches(['?', '&', '#', ';']).len();
                shown.push_str(&format!("{name}=***{}", &value[end..]));
            }
            _ => shown.push_str(part),
        }
    }
}

/// The `@` behind a password with a `/`, `?` or `#` in it, which ought to be escaped: without one in the authority, what
/// follows its `:` is no port.
fn stray_password_end(address: &str, authority: &str) -> Option<usize> {
    let (_, port) = authority
        .split_once(':')
        .filter(|_| !authority.starts_with('['))?;
    let is_port = port.bytes().all(|b| b.is_ascii_digit());
    address.rfind('@').filter(|_| !is_port)
}

/// Whether a parameter of this name holds a secret. One that is escaped may be called anything.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('%') || SECRET_NAMES.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_addresses_are_hidden() {
        for (text, shown) in [
            (
                "tracking = \"http://u:pw@h:1/\"",
                "tracking = \"http://u:***@h:1/\"",
            ),
            ("http://u@h:1", "http://u@h:1"),
            ("http://:p@ss@h", "http://:***@h"),
            (
                "two http://a:b@c, https://d:e@f/g@h",
                "two http://a:***@c, https://d:***@f/g@h",
            ),
            ("http://a:b@c,http://d:e@f", "http://a:***@c,http://d:***@f"),
            ("http://h:1/a:b@c", "http://h:1/a:b@c"),
            ("http://[::1]:1/a@b", "http://[::1]:1/a@b"),
            ("http://u:p/w?x#y@h", "http://u:***@h"),
            ("http://u:p'w@h", "http://u:***@h"),
            ("env:NAME", "env:NAME"),
        ] {
            assert_eq!(hidden_in_text(text), shown);
        }
    }

    #[test]
    fn secrets_of_queries_are_hidden() {
        for (text, shown) in [
            (
                "postgres://h/d?sslmode=require&sslpassword=s1&x=1",
                "postgres://h/d?sslmode=require&sslpassword=***&x=1",
            ),
            (
                "`http://h?API_KEY=k1#token=t` and http://h?a=b",
                "`http://h?API_KEY=***#token=***` and http://h?a=b",
            ),
            ("http://h/?p%61ssword=s1", "http://h/?p%61ssword=***"),
            (
                "http://h/?X-Amz-Signature=s1;y=2",
                "http://h/?X-Amz-Signature=***;y=2",
            ),
            ("http://h/?to=http://u:pw@h", "http://h/?to=http://u:***@h"),
            ("http://h/password=x", "http://h/password=x"),
        ] {
            assert_eq!(hidden_in_text(text), shown);
        }
        assert_eq!(
            hidden_in_address("http://u:a \"b@h?pwd=c d\"e"),
            "http://u:***@h?pwd=***"
        );
    }

    #[test]
    fn a_database_is_shown_where_it_is_surely_an_address() {
        for (text, shown) in [
            ("postgres://u:pw@h/db", "postgres://u:***@h/db"),
            ("postgresql://u:p%40w@h:5/db", "postgresql://u:***@h:5/db"),
            ("postgres://u:pw@a,b/db", "postgres://u:***@a,b/db"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            ("postgres://u:p=w@h", "postgres://u:***@h"),
            (
                "postgres:///db?host=/run/postgresql",
                "postgres:///db?host=/run/postgresql",
            ),
            ("postgres://:pw@[::1]:5/db", "postgres://:***@[::1]:5/db"),
            (
                "postgres://h/db?user=u&password=pw&sslmode=require",
                "postgres://h/db?user=u&password=***&sslmode=require",
            ),
            (
                "postgres://h/db?p%61ssword=pw;sslpassword=pw",
                "postgres://h/db?p%61ssword=***;sslpassword=***",
            ),
            ("sqlite:///var/lib/tracking.db", "sqlite:///var/lib/tracking.db"),
        ] {
            assert_eq!(hidden_in_database(text).as_deref(), Some(shown), "{text}");
        }
        for text in [
            "host=h user=u password=pw",
            "postgres:host=h password=pw",
            "postgres://host=h password=pw",
            "postgres://host=h,password=pw",
            "postgres://h/db?options=-cx.password=pw",
            "postgres://h/db?options=-cx.password%3Dpw",
            "postgres://u:pw@h /db",
            "postgres://u:p/w@h/db",
            "postgres://u:1/w@h/db",
            "postgres://u:p?w@h/db",
            "postgres://u:p#w@h/db",
            "postgres://u:p@w@h/db",
            "postgres://u%3Apw@h/db",
            "postgres://h/db;password=pw",
            "postgres://h/u:pw",
            "postgres://h/db#pw",
            "postgres://h/db?x=u:pw@h",
            "postgres://u:pw@h:port/db",
            "mysql://u:pw@h/db",
            "u:pw@h/db",
            "pw",
        ] {
            assert_eq!(hidden_in_database(text), None, "{text}");
        }
    }

    #[test]
    fn values_of_toml_stay_values() {
        let document = "a = 'http://u:p\"w@h?token=t\"'\nb = [\n    \"http://h?key=k\",\n    \"x\",\n]\n";
        let shown = "a = 'http://u:***@h?token=***'\nb = [\n    \"http://h?key=***\",\n    \"x\",\n]\n";
        assert_eq!(hidden_in_toml(document), shown);
    }
}
