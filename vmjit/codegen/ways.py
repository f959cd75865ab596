"""Which way leads from an instruction of a copy to the next: all that its handler has, or one of a branch's two."""

PLAIN, JUMP, FALL = "", "jump", "fall"
