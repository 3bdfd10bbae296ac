//! The kinds of devices that are simulated, and where their trees come from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::model::ModelReader;
use super::{BaseTree, TreeBuilder, TreeError, text};

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A home router with Wi-Fi, of TR-181.
    Router,
    /// A fibre terminal, of TR-181.
    Ont,
    /// A DSL router, of TR-098.
    Dsl,
    /// A set-top box, of TR-181 and TR-135.
    Stb,
    /// A telephone adapter, of TR-181 and TR-104.
    Voip,
    /// Network storage, of TR-181 and TR-140.
    Storage,
    /// The Broadband Forum's model files: a root and the services mounted in it.
    Model(Vec<PathBuf>),
    /// A table of paths; see [`text`].
    Csv(PathBuf),
}

/// Who makes such devices; the start of their identity.
#[derive(Clone, Copy, Debug)]
pub struct Maker {
    /// Manufacturer.
    pub manufacturer: &'static str,
    /// Six hexadecimal digits.
    pub oui: &'static str,
    /// Product class.
    pub product_class: &'static str,
    /// Hardware version.
    pub hardware: &'static str,
    /// The software version a new device has.
    pub software: &'static str,
}

const COMMON: &str = include_str!("../../trees/device2-common.csv");

impl Kind {
    /// The kinds whose trees are part of this program.
    pub const OWN: [Self; 6] = [
        Self::Router,
        Self::Ont,
        Self::Dsl,
        Self::Stb,
        Self::Voip,
        Self::Storage,
    ];

    /// The kind's name, as [`Kind::from_str`] reads it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Ont => "ont",
            Self::Dsl => "dsl",
            Self::Stb => "stb",
            Self::Voip => "voip",
            Self::Storage => "storage",
            Self::Model(_) => "model",
            Self::Csv(_) => "csv",
        }
    }

    /// Who makes them.
    pub fn maker(&self) -> Maker {
        let (oui, product_class, software) = match self {
            Self::Router => ("00D09E", "HomeRouter", "4.2.0"),
            Self::Ont => ("0017A4", "FiberONT", "2.0.7"),
            Self::Dsl => ("00236C", "DSL-Gateway", "1.9.3"),
            Self::Stb => ("001E8C", "Set-Top-Box", "7.1.0"),
            Self::Voip => ("000E08", "VoiceATA", "3.3.1"),
            Self::Storage => ("0011D8", "HomeStorage", "5.0.2"),
            Self::Model(_) => ("00D09E", "ModelCPE", "1.0.0"),
            Self::Csv(_) => ("00D09E", "TableCPE", "1.0.0"),
        };
        Maker {
            manufacturer: "Hearth Simulations",
            oui,
            product_class,
            hardware: "A1",
            software,
        }
    }

    /// Reads the kind's tree. Costly for model files: share the result between devices.
    ///
    /// # Errors
    /// A file that can't be read or isn't what it should be.
    pub fn load(&self) -> Result<Arc<BaseTree>, TreeError> {
        let mut builder = TreeBuilder::default();
        let own = match self {
            Self::Dsl => {
                text::read(include_str!("../../trees/dsl.csv"), &mut builder)?;
                return Ok(builder.build());
            }
            Self::Model(files) => {
                let mut reader = ModelReader::default();
                for file in files {
                    reader.read_file(file)?;
                }
                return Ok(reader.finish(1).build());
            }
            Self::Csv(file) => {
                text::read_file(file, &mut builder)?;
                return Ok(builder.build());
            }
            Self::Router => include_str!("../../trees/router.csv"),
            Self::Ont => include_str!("../../trees/ont.csv"),
            Self::Stb => include_str!("../../trees/stb.csv"),
            Self::Voip => include_str!("../../trees/voip.csv"),
            Self::Storage => include_str!("../../trees/storage.csv"),
        };
        text::read(COMMON, &mut builder)?;
        text::read(own, &mut builder)?;
        Ok(builder.build())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no kind.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown kind `{0}`: expected router, ont, dsl, stb, voip, storage, model:FILE[+SERVICE…] or csv:FILE"
)]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        if let Some(files) = text.strip_prefix("model:") {
            return Ok(Self::Model(files.split('+').map(PathBuf::from).collect()));
        }
        if let Some(file) = text.strip_prefix("csv:") {
            return Ok(Self::Csv(PathBuf::from(file)));
        }
        let known = Self::OWN.into_iter().find(|kind| kind.name() == text);
        known.ok_or_else(|| UnknownKind(text.to_owned()))
    }
}
