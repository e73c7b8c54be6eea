"""Pairs from scored responses: facts about responses in, pairs out; the texts stay where they are.

`facts` says what is known of each response without its text, `build` takes the pairs by
`croco.selection`, `files` finds facts and texts in the user's files, `output` writes pairs,
`doctor` says what is wrong with them.
"""
