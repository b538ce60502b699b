"""Abbreviations of six languages, and the words after them, in small letters and without their last full stop."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


INSIDE = _words("""
    mr mrs ms messrs dr capt lt sgt pres supt cmdr e.g i.e vs cf viz approx dept
    mme mlle p.ex
    sra srta dra d.ª dña ej ee
    dott dott.ssa sig sig.ra sig.na avv prof.ssa
    profa profª exmo exma eng
    z.b d.h u.a bzw vgl sog evtl ggf inkl exkl zzgl bspw i.d.r
""") | {"z b", "d h", "u a", "p ej", "por ej", "p ex", "por ex", "ad es", "per es", "i e", "e g"}  # fmt: skip
"""Never the end of a sentence: another word follows. Pairs are written with a space between them."""

BEFORE_NUMBER = _words("""
    no nos nr nrs nº n.º núm num fig figs abb abs art arts vol vols ch chap sec sect eq tab bl lib pp pg ca env pág págs
    pag jan feb mar apr jun jul aug sep sept oct nov dec ene abr ago dic gen mag giu lug ott fev févr janv juil août out
    set dez mai okt déc avr
""")  # fmt: skip
"""Not the end of a sentence where a number follows: Fig. 3, but: Did he agree? No. He refused."""

IN_ENUMERATIONS = _words("etc usw usf ecc &c")
"""The end of a sentence where a capital follows."""

AT_EITHER_PLACE = _words("""
    prof rev hon gen col gov sen rep sr jr inc ltd co corp llc bros st mt blvd rd hwy min tel ph.d m.sc b.sc d.phil
    al mm mgr av bd ing hr fr gr str mio mrd uu uds ud vd vds cía ltda
""")  # fmt: skip
"""In a sentence or at its end, as initials are: the end where a word follows that often begins a sentence."""

FIRST_WORDS = _words("""
    the a an i he she it we you they this that these those there here his her its our my your their and but or so if
    when while then however what who why how not no yes
    le la les l un une des il elle nous vous ils elles je j tu ce c cette ces et mais ou donc puis
    el los las una yo él ella nosotros ellos ellas esto esta este estos estas es y pero o entonces
    lo gli uno io lui lei noi voi loro questo questa questi queste è non e ma poi
    os um uma eu ele ela nós eles elas isto isso essa esse é não mas ou
    der die das ein eine ich du er sie es wir ihr dies diese dieser und aber oder dann nicht
""")  # fmt: skip
"""Words that often begin a sentence."""

PREPOSITIONS = _words("""
    in on at after before as for dans en pour para por nel nella per em no na im am nach vor für
""")  # fmt: skip
"""Words that begin a sentence only where they have a capital that others lack."""

AFTER_ORDINALS = _words("""
    januar jänner februar märz april mai juni juli august september oktober november dezember
    jahrhundert jahrhunderts weltkrieg weltkriegs
""")  # fmt: skip
"""German words after an ordinal number, which is written with a full stop: am 3. Oktober."""
