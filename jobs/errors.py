"""The errors that Nightjar raises: each message is a sentence that names the thing and the mend."""


class NightjarError(Exception):
    """Base of every error that a user of Nightjar can mend."""


class ContractError(NightjarError):
    """A declaration is illegal, or data does not have the shape that its contract declares."""


class LandingError(NightjarError):
    """A landed file or manifest is missing, damaged or not what the feed declares."""


class ImportMappingError(NightjarError):
    """A mapping file cannot be applied to the source files."""


class SettingsError(NightjarError):
    """An option, environment variable or configuration file is missing or wrong."""


class CheckFailed(NightjarError):
    """A check with verdict FAIL did not hold; nothing was published."""


class PublishError(NightjarError):
    """A publish was refused, because a newer attempt holds the table or the pointer."""


class ServiceError(NightjarError):
    """An embedded service did not start, or is gone."""


class EvidenceError(NightjarError):
    """The data are too few, or overlap too little, to say a figure; it is refused rather than guessed."""
