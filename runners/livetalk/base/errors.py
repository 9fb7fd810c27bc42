"""What livetalk raises when its input is at fault. Each message is one paragraph that says what to do."""


class LiveTalkError(Exception):
    """Base of every error a caller can mend; the command line prints its message without a traceback."""


class OptionError(LiveTalkError):
    """An option is unknown, or has a value that can't be used, here or together with the others."""


class AudioError(LiveTalkError):
    """An audio file can't be read, or holds nothing to speak."""


class AudioTooLongError(AudioError):
    """An audio file lasts longer than its reader accepts."""


class ImageError(LiveTalkError):
    """A picture can't be read, or has a shape the model can't use."""


class OutputError(LiveTalkError):
    """A clip can't be written where it was asked for."""


class CheckpointError(LiveTalkError):
    """A checkpoint file is missing, damaged, or another model."""


class FixtureError(LiveTalkError):
    """A fixture folder is incomplete, damaged, or laid out otherwise than expected."""


class SessionError(LiveTalkError):
    """A session was asked for something its settings can't give, or in the wrong order."""


class EncoderError(LiveTalkError):
    """A video encoder can't be used on this machine, or not for a stream."""
