//! How the metadata of a kind is looked at.

/// How a kind's own rules look at metadata, after those of all kinds have. What they find once more is told once
/// more, as the original does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataRules {
    /// Metadata of a new object is checked with the rest of it. Otherwise names may be anything that can stand in a
    /// path, and are looked at only when the rest is right.
    pub own: bool,
    /// Finalizers must be the system's or name a domain.
    pub qualified_finalizers: bool,
    /// Checks of an update of the whole.
    pub update: MetadataChecks,
    /// Checks of an update of the status, and of other parts that are no spec.
    pub status: MetadataChecks,
    /// What a write of the status does with metadata.
    pub in_status: StatusMetadata,
}

/// How often metadata is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataChecks {
    /// As that of a new object.
    pub whole: u8,
    /// As a change.
    pub change: u8,
}

/// What a write of the status does with metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMetadata {
    /// Changes it.
    Changes,
    /// Changes all but these fields.
    Keeps(&'static [&'static str]),
    /// Keeps it.
    Fixed,
    /// Changes it, and nobody comes to own the change.
    Unowned,
}

impl MetadataRules {
    /// Those of most kinds of the core: an update is checked once more, as a change.
    pub const CORE: Self = Self {
        own: true,
        qualified_finalizers: true,
        update: MetadataChecks { whole: 0, change: 1 },
        status: MetadataChecks { whole: 0, change: 1 },
        in_status: StatusMetadata::Changes,
    };

    /// Those of kinds from elsewhere.
    pub const OTHER: Self = Self { qualified_finalizers: false, ..Self::CORE };

    /// With this many checks of an update of the whole: as of a new object, and as a change.
    #[must_use]
    pub const fn update(self, whole: u8, change: u8) -> Self {
        Self { update: MetadataChecks { whole, change }, ..self }
    }

    /// With this many checks of an update of the status: as of a new object, and as a change.
    #[must_use]
    pub const fn status(self, whole: u8, change: u8) -> Self {
        Self { status: MetadataChecks { whole, change }, ..self }
    }

    /// The checks of an update of this subresource, or of the whole.
    #[must_use]
    pub fn checks(&self, subresource: &str) -> MetadataChecks {
        match subresource {
            "status" | "approval" | "finalize" => self.status,
            _ => self.update,
        }
    }
}

/// Which names objects of a kind may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameRule {
    /// RFC 1123 subdomain, up to 253 bytes.
    DnsSubdomain,
    /// RFC 1123 label, up to 63 bytes.
    DnsLabel,
    /// RFC 1035 label, up to 63 bytes.
    Dns1035Label,
    /// Anything that can stand in a path segment (RBAC names).
    PathSegment,
    /// As [`DnsSubdomain`](Self::DnsSubdomain), in the words of the newer rules, which do not look at what names are
    /// generated from.
    LongName,
    /// An IP address in its canonical form.
    IpAddress,
}
