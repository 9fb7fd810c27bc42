"""What livetalk raises when its input is at fault. Each message is one paragraph that says what to do."""


class LiveTalkError(Exception):
    """Base of every error a caller can mend; the command line prints its message without a traceback."""


class OptionError(LiveTalkError):
    """An option is unknown, or has a value that cannot be used, here or together with the others."""


class AudioError(LiveTalkError):
    """An audio file cannot be read, or holds nothing to speak."""


class AudioTooLongError(AudioError):
    """An audio file lasts longer than its reader accepts."""


class ImageError(LiveTalkError):
    """A picture cannot be read, or has a shape the model cannot use."""


class OutputError(LiveTalkError):
    """A clip cannot be written where it was asked for."""


class CheckpointError(LiveTalkError):
    """A checkpoint file is missing, damaged, or another model."""


class FixtureError(LiveTalkError):
    """A fixture folder is incomplete, damaged, or laid out otherwise than expected."""


class SessionError(LiveTalkError):
    """A session was asked for something its settings cannot give, or in the wrong order."""


class EncoderError(LiveTalkError):
    """A video encoder cannot be used on this machine, or not for a stream."""
