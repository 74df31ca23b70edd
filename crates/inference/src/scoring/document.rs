//! JSON documents: which form they have, and their params.

use lodeway_domain::{Error, Result, signature::ModelSignature};

use super::{
    Form, Input, Parsed, PassOn, Reason, split, tensors,
    value::{Context, Values},
};
use crate::{
    Params,
    fault::Read,
    json::{Reader, whole},
};

const FORMS: [Form; 4] = [
    Form::DataframeSplit,
    Form::DataframeRecords,
    Form::Instances,
    Form::Inputs,
];
const LLM_KEYS: [&str; 3] = ["messages", "prompt", "input"];

/// Reads a JSON document.
pub(super) fn parse(body: &[u8], signature: Option<&ModelSignature>, is_packed: bool) -> Result<Parsed> {
    let fault = match read(body, signature, is_packed) {
        Ok(parsed) => return Ok(parsed),
        Err(fault) => fault,
    };
    // Looked at as a whole only where something is in the way: what a document says of itself explains more than the
    // value that did not fit.
    match survey(body)?.form()? {
        Form::Llm => Ok(pass_on(Form::Llm, Reason::Llm)),
        form => fault.split().map(|why| pass_on(form, Reason::NeedsRuntime(why))),
    }
}

fn pass_on(form: Form, reason: Reason) -> Parsed {
    Parsed::PassOn(PassOn { form, reason })
}

fn read<'a>(body: &'a [u8], signature: Option<&'a ModelSignature>, is_packed: bool) -> Read<Parsed> {
    let mut reader = Reader::new(body)?;
    let mut keys = Keys::default();
    let mut values = None;
    let mut params = Params::new();
    reader.object(|reader, key| match (keys.note(&key), &*key) {
        (Some(form), _) => {
            values = Some(value(
                reader,
                Context {
                    form,
                    signature,
                    body_bytes: body.len(),
                    is_packed,
                },
            )?);
            Ok(())
        }
        (None, "params") => reader.params("params").map(|given| params = given),
        _ => reader.skip().map(drop),
    })?;
    reader.finish()?;
    let (form, Some(values)) = (keys.form()?, values) else {
        return Ok(pass_on(Form::Llm, Reason::Llm));
    };
    if form == Form::Llm {
        return Ok(pass_on(form, Reason::Llm));
    }
    let mut ignored = values.ignored;
    if let Some(signature) = signature {
        let unknown = signature.check_params(&params)?;
        unknown.iter().for_each(|name| drop(params.remove(name)));
        ignored.extend(unknown);
    }
    Ok(Parsed::Input(Input {
        payload: values.payload,
        params,
        form,
        ignored,
        has_index: values.has_index,
    }))
}

fn value<'a>(reader: &mut Reader<'a>, context: Context<'a>) -> Read<Values> {
    match context.form {
        Form::DataframeSplit => split::split(reader, context),
        Form::DataframeRecords => split::records(reader, context),
        _ => tensors::read(reader, context),
    }
}

/// The keys that decide what a document is.
#[derive(Debug, Default)]
struct Keys {
    forms: Vec<Form>,
    is_llm: bool,
    has_signature_name: bool,
    /// A form that came twice, of which Python would take the last.
    twice: Option<Form>,
}

impl Keys {
    /// Notes a key; returns the form if it is the first key of one.
    fn note(&mut self, key: &str) -> Option<Form> {
        self.is_llm |= LLM_KEYS.contains(&key);
        self.has_signature_name |= key == "signature_name";
        let form = FORMS.into_iter().find(|form| form.key() == Some(key))?;
        let is_new = !self.forms.contains(&form);
        if is_new {
            self.forms.push(form);
        } else {
            self.twice = Some(form);
        }
        (is_new && self.forms.len() == 1).then_some(form)
    }

    /// The one form that the keys make.
    fn form(&self) -> Result<Form> {
        if self.is_llm {
            return Ok(Form::Llm);
        }
        if self.has_signature_name {
            let why = "is not supported: a model has one signature; leave it out";
            return Err(Error::invalid("signature_name", why));
        }
        if let Some(key) = self.twice.and_then(Form::key) {
            return Err(Error::invalid(key, "comes twice; send it once"));
        }
        let all = "exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`";
        match *self.forms.as_slice() {
            [form] => Ok(form),
            [] => Err(Error::invalid("body", format!("must be an object with {all}"))),
            _ => {
                let came: Vec<_> = self.forms.iter().filter_map(|form| form.key()).collect();
                let why = format!("must have {all}, and has `{}`", came.join("`, `"));
                Err(Error::invalid("body", why))
            }
        }
    }
}

/// The keys of a document, and whether all of it is JSON.
fn survey(body: &[u8]) -> Result<Keys> {
    let mut reader = Reader::new(body)?;
    let is_object = reader.peek()? == b'{';
    let mut keys = Keys::default();
    if is_object {
        reader.object(|reader, key| {
            keys.note(&key);
            reader.skip().map(drop)
        })?;
    } else {
        let is_list = reader.peek()? == b'[';
        reader.skip()?;
        let kind = if is_list { "a list" } else { "a single value" };
        reader.finish()?;
        let why = format!(
            "is {kind}; wrap it: an object with exactly one of `dataframe_split`, `dataframe_records`, `instances` and \
             `inputs`"
        );
        return Err(Error::invalid("body", why));
    }
    reader.finish()?;
    Ok(keys)
}

/// Whether the document says `"stream": true`; of a key that comes twice the last counts, as in Python.
pub(super) fn says_stream(body: &[u8]) -> Result<bool> {
    let mut says = false;
    whole(body, |reader| {
        reader.object(|reader, key| {
            let value = reader.skip()?;
            if key == "stream" {
                says = value == "true";
            }
            Ok(())
        })
    })?;
    Ok(says)
}
