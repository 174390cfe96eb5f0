"""Words that say nothing of a text's subject, by language."""

from __future__ import annotations

__all__ = ["STOP_WORDS"]


_LISTS = {
    "da": """ad af alle at blev blive bliver da de dem den denne der deres det dette dig din
        disse du eller en er et for fra han har have havde hun hvad hvis hvor i ikke ind jeg
        jer kan man med meget men mig min når ned nu og også om op os over på sig skal som
        til ud under var vi vil var være været""",
    "de": """aber alle als am an auch auf aus bei beim bin bis da damit dann das dass dein
        dem den der des die dies diese diesem diesen dieser dieses doch du durch ein eine
        einem einen einer eines er es etwas für gibt habe haben hat hatte ich ihm ihn ihr
        ihre ihren im in ins ist ja jede jeder jedes kann kein keine können man mehr mein
        mit muss müssen nach nicht noch nur ob oder ohne sehr sein seine sich sie sind so
        soll sollen sollte über um und uns unter vom von vor wann war warum was welche
        welchem welchen welcher welches wenn wer werden wie wieso wir wird wo wurde wurden
        zu zum zur""",
    "en": """a about after all also an and any are as at be because been before but by can
        could did do does doesn don each for from had has have he her his how i if in into
        is isn it its just may me more most my no not of on only or other our out over
        shall she should so some such than that the their them then there these they this
        those to up use used using was we were what when where whether which while who why
        will with would you your""",
    "es": """a al algo como con cual cuando de del desde donde el ella en entre era es esa
        ese esta estas este esto estos fue ha hay la las le les lo los más me mi muy no nos
        o para pero por porque que qué quien se ser si sin sobre son su sus también te
        tiene todo todos tu un una uno y ya yo""",
    "fr": """à au aux avec ce ces cet cette comme comment dans de des donc du elle elles en
        est et été être eu il ils je la le les leur leurs lui mais me même mes mon ne nos
        notre nous on ont ou où par pas plus pour quand que quel quelle qui sa sans se ses
        si son sont sur ta te tu un une vos votre vous y""",
    "it": """a ad al alla alle anche che chi ci come con cui da dal dalla dei del della
        delle di dove e è ed essere fra gli ha hanno i il in io la le lo loro ma mi nel
        nella nelle no non o per perché più quale quando quello questa questo se sei si
        sono su sua sul sulla suo tra tu un una uno""",
    "nl": """aan al als bij dan dat de der deze die dit doch door een en er geen had hebben
        heeft het hij hoe hun ik in is je kan maar me meer men met mijn naar niet nog nu of
        om onder ons ook op over te tot uit u van voor waar was wat we welke werd wie wij
        wordt worden zal ze zich zij zijn zo""",
    "pt": """a ao aos as às até com como da das de dela dele do dos e é ela ele em entre
        era esta este eu foi há isso já lhe mais mas me meu muito na nas não no nos nós o
        os ou para pela pelo por porque qual quando que quem se sem ser seu são só sua
        também te tem um uma você""",
    "sv": """alla att av blev bli blir de dem den denna detta det dig din du där efter ej
        eller en er ett från för ha hade han har hon hur i icke in inte jag kan man med
        men mig min mot mycket ni nu när någon och om oss på sig sin ska som så till under
        upp ut utan vad var vara vi vid vilken är över""",
}

STOP_WORDS = {language: frozenset(words.split()) for language, words in _LISTS.items()}
